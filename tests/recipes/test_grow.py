"""From a folder to a larger folder that computes the same."""

import json
import stat

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from monosemy.foundation.errors import UserError
from monosemy.growth.proof import EXACT
from monosemy.growth.shapes import Growth
from monosemy.models.loading import load
from monosemy.recipes import grow
from monosemy.recipes.grow import GrowConfig, grow_model, growth_of

GROWTH = Growth(mlp=5, heads=1, key=2, value=2, residual=14, layers=1)


def _config(text_folder, growth=GROWTH, **more):
    return GrowConfig(growth, text=str(text_folder), tokens=64, **more)


def test_a_folder_grows(model_folder, text_folder, tmp_path):
    out = tmp_path / "in" / "larger"
    found = grow_model(model_folder, _config(text_folder), out)
    said = found.to_json()
    assert json.loads((out / "growth.json").read_text()) == said
    assert [e["expansion"] for e in said["expansions"]] == [
        "mlp +5", "heads +1, key +2, value +2, residual +14", "layers +1"]  # fmt: skip
    assert said["predictions"] == {"text": 64, "random": 64}
    assert said["relative_float64"] <= EXACT
    assert said["max_abs_logit_difference_float64"] <= EXACT * said["largest_logit"]
    assert 0 < said["as_written"]["relative"] < 1e-5
    assert said["expansions"][1]["new"]["stream"] == said["new"]["stream"] == [[16, 30]]
    assert said["new"]["neurons"] == [[32, 37]]
    opened = AutoModelForCausalLM.from_pretrained(out).eval()
    assert opened.num_parameters() == said["parameters"]["after"] > said["parameters"]["before"]
    tokenizer = AutoTokenizer.from_pretrained(out)
    ids = tokenizer("def return", return_tensors="pt")["input_ids"]
    torch.testing.assert_close(
        opened(ids).logits, load(model_folder).model(ids).logits, rtol=0, atol=1e-4
    )
    assert [path.name for path in out.parent.iterdir()] == ["larger"]
    assert stat.S_IMODE((out / "model.safetensors").stat().st_mode) & 0o400
    modes = {stat.S_IMODE(path.stat().st_mode) for path in out.iterdir()}
    assert len(modes) == 1
    again = grow_model(out, _config(text_folder, Growth(mlp=1)), tmp_path / "twice")
    assert again.to_json()["relative_float64"] <= EXACT


def test_a_dry_run_writes_nothing(model_folder, text_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(grow, "_expanded", None)
    said = grow_model(model_folder, _config(text_folder), None).to_json()
    assert said["expansions"] == []
    assert said["max_abs_logit_difference_float64"] is None
    assert said["after"]["width"] == 30
    monkeypatch.undo()
    real = grow_model(model_folder, _config(text_folder), tmp_path / "x").to_json()
    assert real["parameters"] == said["parameters"]


def test_the_seed_is_all_there_is(model_folder, text_folder, tmp_path):
    weights = [
        (tmp_path / name / "model.safetensors").read_bytes()
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
        if grow_model(model_folder, _config(text_folder, seed=seed), tmp_path / name)
    ]
    assert weights[0] == weights[1] != weights[2]


def test_nothing_is_overwritten_and_all_reasons_come_first(model_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(grow, "load", None)
    (tmp_path / "there").mkdir()
    config = GrowConfig(GROWTH, init=0.0, tokens=0, dtype="flota32")
    with pytest.raises(UserError) as error:
        grow_model(model_folder, config, tmp_path / "there")
    for said in ("init = 0", "tokens = 0", "did you mean 'float32'?", "exists already"):
        assert said in str(error.value)


def test_quantised_weights_are_refused_before_they_are_opened(model_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(grow, "load", None)
    config = json.loads((model_folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="are quantised"):
        grow_model(tmp_path, GrowConfig(GROWTH), tmp_path / "larger")


def test_a_failed_proof_writes_nothing(model_folder, text_folder, tmp_path, monkeypatch):
    """The negative control of the whole road: one constraint broken, and no folder appears."""
    from dataclasses import replace

    from monosemy.growth import expand as module

    right = module.factors
    monkeypatch.setattr(module, "factors", lambda *given: replace(right(*given), gain=1.0))
    with pytest.raises(UserError, match="Nothing was written"):
        grow_model(model_folder, _config(text_folder), tmp_path / "larger")
    assert list(tmp_path.iterdir()) == []


def test_files_that_differ_from_what_was_proved_are_refused(
    model_folder, text_folder, tmp_path, monkeypatch
):
    def other(folder):
        loaded = load(folder)
        loaded.model.transformer.h[0].mlp.c_fc.weight.add_(1)
        return loaded

    calls = iter([load, other])
    monkeypatch.setattr(grow, "load", lambda name, **_: next(calls)(name))
    with pytest.raises(UserError, match=r"c_fc.weight .* differs from what was saved"):
        grow_model(model_folder, _config(text_folder), tmp_path / "larger")
    assert list(tmp_path.iterdir()) == []


def test_lower_precision_says_what_it_rounds(model_folder, text_folder, tmp_path):
    found = grow_model(model_folder, _config(text_folder, dtype="bfloat16"), tmp_path / "larger")
    said = found.to_json()
    assert said["relative_float64"] <= EXACT
    assert said["as_written"]["dtype"] == "bfloat16"
    assert said["as_written"]["relative"] > 1e-4


def test_options_become_a_growth():
    assert growth_of({"mlp": 3, "heads": None}) == Growth(mlp=3)
    with pytest.raises(UserError) as error:
        growth_of({"mlp": 0, "heads": -1, "key": None})
    assert "--mlp 0" in str(error.value)
    assert "--heads -1" in str(error.value)
    with pytest.raises(UserError, match="nothing to grow"):
        growth_of({"mlp": None})


def test_the_specimen(text_folder, tmp_path):
    growth = Growth(mlp=32, heads=1, residual=32, layers=1)
    said = grow_model("specimen", _config(text_folder, growth), tmp_path / "larger").to_json()
    assert said["relative_float64"] <= EXACT
    assert said["as_written"]["relative"] < 1e-5


def test_a_trained_llama(shared_data, text_folder, tmp_path):
    growth = Growth(heads=8, key=8, value=8, residual=64)
    config = GrowConfig(growth, text=str(text_folder), tokens=64)
    stories = shared_data / "models" / "stories260K"
    said = grow_model(stories, config, tmp_path / "larger").to_json()
    assert len(said["expansions"]) == 3
    assert said["relative_float64"] <= EXACT
    assert said["as_written"]["relative"] < 1e-5
