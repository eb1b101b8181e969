"""From a run to probes of concepts, beside controls."""

import json
from dataclasses import replace

import numpy as np
import pytest

from monosemy.foundation.errors import UserError
from monosemy.recipes import probing
from monosemy.recipes.dictionary import train_dictionary
from monosemy.recipes.probing import ProbingConfig, probe_concepts

SMALL = ProbingConfig("spelling", (1, 2), 400, 3, fewest=3, limit=4, random_model=False)


@pytest.fixture
def run(recipe, tmp_path):
    train_dictionary(recipe, tmp_path / "run")
    return tmp_path / "run"


def test_a_run_is_probed_beside_its_controls(run):
    found = probe_concepts(run, SMALL).to_json()
    json.dumps(found, allow_nan=False)
    everything = found["groups"]["all"]
    assert everything["concepts"] == len(found["concepts"]) == 4
    assert set(everything["mean"]) == {"dictionary", "neurons", "pca", "random"}
    assert set(everything["dictionary_less_control"]) == {"neurons", "pca", "random"}
    for by_k in everything["mean"].values():
        assert set(by_k) == {"1", "2"}
        assert 0.3 < by_k["2"]["auc"]["value"] <= 1
    for one in found["concepts"]:
        assert len(one["best"]) == 3
        assert all(0 <= latent < 32 for latent in one["best"])
        assert 0 < one["tokens"] < found["tokens"]
        assert 0 < one["f1_of_always"] < 1
    # A letter that is nowhere is named, with its counts.
    assert found["left_out"]["first letter z"]["with_it"] == 0
    assert probe_concepts(run, SMALL).to_json() == found


def test_a_model_with_random_weights_stands_beside(run):
    config = replace(SMALL, ks=(1,), random_model=True)
    found = probe_concepts(run, config).to_json()
    assert (run / "controls" / "random_model" / "dictionary").is_dir()
    everything = found["groups"]["all"]
    assert set(everything["dense"]) == {"dictionary", "random_model"}
    own, other = (everything["mean"][name]["1"] for name in ("dictionary", "random_model"))
    assert own != other
    less = everything["dictionary_less_control"]["random_model"]["1"]["f1"]
    assert less["value"] == pytest.approx(own["f1"]["value"] - other["f1"]["value"])
    assert less["low"] <= less["value"] <= less["high"]


def test_random_labels_are_told_by_no_dictionary(run, tmp_path):
    """Marks that know nothing of the text, from a file: a half lies inside the interval."""
    recipe, _ = probing.open_dictionary(run, {})
    corpus = probing.open_setting(recipe, "heldout", 1).corpus
    draw = np.random.default_rng(0)
    lines = [
        json.dumps({"document": one.name, "start": at, "end": at + 1, "concept": f"c{number}"})
        for one in corpus.documents
        for at in range(len(one.text))
        for number in np.flatnonzero(draw.random(6) < 0.3)
    ]
    (tmp_path / "marks.jsonl").write_text("\n".join(lines))
    config = replace(SMALL, concepts=str(tmp_path / "marks.jsonl"), limit=0, controls=False)
    found = probe_concepts(run, config).to_json()
    assert found["groups"]["all"]["concepts"] == 6
    one = found["groups"]["all"]["mean"]["dictionary"]["2"]["auc"]
    assert one["low"] < 0.5 < one["high"]


def test_mistakes_are_told(run):
    with pytest.raises(UserError, match="this probing has 3 problems"):
        ProbingConfig(tokens=0, folds=2, ks=(1, 1))
    with pytest.raises(UserError, match="is no run"):
        probe_concepts(run / "dictionary", ProbingConfig("spelling"))
    with pytest.raises(UserError, match="did you mean 'spelling'"):
        probe_concepts(run, ProbingConfig("speling", random_model=False))
    config = ProbingConfig("spelling", (1,), 400, 3, fewest=10_000, random_model=False)
    with pytest.raises(UserError, match="none of the"):
        probe_concepts(run, config)
