"""Counts from configurations, held to published totals and to what weight files hold."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors import safe_open

from monosemy.foundation.errors import UserError
from monosemy.models.census import _SPECIMEN_FOLDER, count, parameters
from monosemy.models.census_table import FAMILIES, MODELS


def one(name):
    (found,) = count([str(name)])
    return found


def stored(folder: Path) -> int:
    with safe_open(folder / "model.safetensors", framework="pt") as file:
        return sum(math.prod(file.get_slice(key).get_shape()) for key in file.keys())  # noqa: SIM118


@pytest.mark.parametrize(
    ("name", "units", "neurons"),
    [("gpt-3", 1_179_648, 4_718_592), ("palm-540b", 2_174_976, 8_699_904), ("gpt2", 9_216, 36_864)],
)
def test_units_and_neurons_are_counted_apart(name, units, neurons):
    assert (one(name).units, one(name).mlp_neurons) == (units, neurons)


def test_a_layer_norm_leaves_two_dimensions_fewer_and_an_rms_norm_one():
    assert one("gpt-3").freedom == {"span": 12287, "intrinsic": 12286}
    assert one("llama-7b").freedom == {"span": 4096, "intrinsic": 4095}


def test_every_formula_meets_its_published_total():
    for model in count()[:-1]:
        assert model.published is not None
        # The widest miss is a total that was published with two digits.
        assert model.parameters == pytest.approx(model.published * 1e6, rel=0.02), model.name


def test_a_formula_without_its_gate_misses():
    gated = [model for model in MODELS if FAMILIES[model.family].gated]
    assert len(gated) > 20
    for model in gated:
        wrong = replace(FAMILIES[model.family], gated=False)
        assert parameters(model, wrong) < 0.95 * model.published * 1e6


def test_the_specimen_has_the_parameters_of_its_file():
    assert one("specimen").parameters == stored(_SPECIMEN_FOLDER)
    assert count()[-1].name == "specimen"


def test_real_folders_have_the_parameters_of_their_files(shared_data):
    llama, bert = (shared_data / "models" / name for name in ("stories260K", "minilm-l6"))
    assert one(llama).parameters == stored(llama)
    assert one(bert).parameters == stored(bert)


def test_names_are_read_as_people_write_them():
    for asked in ("GPT-3", "gpt3", "openai/gpt-3-175b"):
        assert one(asked).name == "gpt-3"
    assert one("EleutherAI/pythia-70m").name == "pythia-70m"


def test_the_brain_beside_is_the_largest_one_that_is_smaller():
    assert one("gpt-3").beside.name == "honeybee, brain"
    assert one("pythia-70m").beside.name == "fruit fly, larva"
    assert one("specimen").beside is None


def test_every_name_leads_to_one_model():
    assert len({model.name for model in MODELS}) == len(MODELS)
    for model in MODELS:
        assert one(model.name).name == model.name


def test_what_is_unknown_is_said_all_at_once(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "odd", "hidden_size": -3}))
    with pytest.raises(UserError) as told:
        count(["pythia-71m", "nothing-like-it", str(tmp_path)])
    said = str(told.value)
    assert "unknown model 'pythia-71m'" in said
    assert "did you mean 'pythia-70m'" in said
    assert "unknown model 'nothing-like-it'" in said
    assert "does not say layers: wanted a whole number under num_hidden_layers or n_layer" in said
    assert "does not say width" in said


def test_a_folder_of_a_family_without_formula_is_counted_all_the_same(tmp_path):
    config = {
        "model_type": "odd",
        "hidden_size": 8,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    found = one(tmp_path)
    assert (found.units, found.mlp_neurons, found.attention_axes) == (24, 96, 24)
    assert (found.parameters, found.freedom) == (None, None)
    # Experts have other shapes than the family's formula knows.
    mixture = config | {"model_type": "mistral", "vocab_size": 9, "num_local_experts": 8}
    (tmp_path / "config.json").write_text(json.dumps(mixture))
    assert one(tmp_path).parameters is None
