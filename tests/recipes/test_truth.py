"""One cell: what it returns, that it repeats, that measuring sees nothing trained on, refusals."""

import json

import pytest
import torch

from monosemy.data.features.source import WorldSource
from monosemy.data.features.worlds import open_world
from monosemy.dictionaries import files
from monosemy.evaluation.readers import DictionaryReader
from monosemy.foundation.errors import UserError
from monosemy.recipes.dictionary import train_dictionary
from monosemy.recipes.truth import HEADLINES, heldout, measure, recipe_of, run_cell
from monosemy.recipes.truth_arms import ARMS
from monosemy.recipes.truth_protocol import protocol_for
from monosemy.tensors.compute import Compute

WORLD = "conditional-rotated"
SMALL = {"tokens": 20_480, "samples": 3_000}


@pytest.fixture(scope="module")
def cell(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cell")
    return run_cell(WORLD, "batchtopk", 1, SMALL, out=folder), folder


def test_a_cell_says_what_the_issue_of_it_is(cell):
    found, _ = cell
    assert list(found)[:6] == ["world", "dictionary", "seed", "world_seed", "latents", "parameters"]
    assert set(HEADLINES) <= found.keys()
    assert (found["world"], found["dictionary"], found["seed"]) == (WORLD, "batchtopk", 1)
    assert found["parameters"] == 480 * 48 * 2 + 480 + 48
    assert json.loads(json.dumps(found, allow_nan=False)) == json.loads(json.dumps(found))
    for name in HEADLINES:
        assert found[name] == found["metrics"][name]["value"]
        assert 0 <= found[name] < 10
    assert found["samples"] == 3000
    assert found["recipe"]["world"] == WORLD


def test_l0_is_the_true_one(cell):
    found, _ = cell
    assert found["l0"] == pytest.approx(found["protocol"]["l0"], rel=0.1)
    assert found["metrics"]["true_l0"]["value"] == pytest.approx(3.24, rel=0.1)


def test_a_cell_repeats_bit_for_bit_and_is_read_back_when_it_is_there(cell, tmp_path):
    found, folder = cell
    for again in (run_cell(WORLD, "batchtopk", 1, SMALL, out=tmp_path / "x"),
                  run_cell(WORLD, "batchtopk", 1, SMALL, out=folder)):  # fmt: skip
        assert again["metrics"] == found["metrics"]


def test_what_is_kept_is_what_was_measured(cell):
    found, folder = cell
    reader = DictionaryReader(files.load(folder / "dictionary"))
    compute = Compute(seed=1)
    again = measure(reader, open_world(WORLD, 1), 3000, compute).to_json()
    assert again["f1"] == found["metrics"]["f1"]
    assert again["l0"] == found["metrics"]["l0"]


def test_the_run_alone_learns_the_same(cell, tmp_path):
    """The road is the ordinary one: ``monosemy train --set world=...``."""
    recipe = recipe_of(WORLD, "batchtopk", 1, protocol_for(WORLD, SMALL))
    alone = train_dictionary(recipe, tmp_path / "run")
    kept = files.load(cell[1] / "run" / "dictionary")
    assert torch.equal(alone.W_dec, kept.W_dec)


def test_held_out_samples_are_no_training_samples():
    world, compute = open_world(WORLD, 0), Compute(seed=0)
    held = torch.cat([piece.x for piece in heldout(world, 2500, compute)])
    trained = WorldSource(world, 4096, compute).rows(0, 4096)
    assert len(held) == 2500
    assert not (held[:, None, :4] == trained[None, :, :4]).all(-1).any()
    again = torch.cat([piece.x for piece in heldout(world, 2500, compute)])
    assert torch.equal(held, again)
    other = next(iter(heldout(world, 2500, Compute(seed=1)))).x
    assert not torch.equal(held[:100], other[:100])


def test_settings_and_changes_have_an_effect():
    protocol = protocol_for(WORLD, {**SMALL, "latents": 100, "l0": 2})
    recipe = recipe_of(WORLD, "batchtopk", 0, protocol, {"optim.clip": "0.5"})
    assert (recipe.latents, recipe.k, recipe.tokens, recipe.optim.clip) == (100, 2, 20_480, 0.5)
    assert recipe.world_seed == 0
    assert recipe_of(WORLD, "batchtopk", 3, protocol).world_seed == 3
    synth = protocol_for("synthsaebench-2k")
    assert recipe_of("synthsaebench-2k", "batchtopk", 3, synth).world_seed == 0


@pytest.mark.parametrize("arm", ARMS)
def test_arms_stand_beside(arm):
    found = run_cell(WORLD, arm, 0, SMALL)
    assert found["recipe"] is None
    assert found["parameters"] > 0
    if arm == "oracle":
        assert found["f1"] == found["child_f1"] == 1
    else:
        assert 0 < found["f1"] < 0.95


REFUSED = {
    "world": (("conditional-rotatd", "topk"), {}, "did you mean 'conditional-rotated'"),
    "kind": ((WORLD, "batchtpk"), {}, "unknown dictionary 'batchtpk'.*did you mean 'batchtopk'"),
    "seed": ((WORLD, "topk", -1), {}, "seed = -1; wanted at least 0"),
    "l0": (
        (WORLD, "topk"),
        {"changes": {"l0": 9, "latents": 8}},
        "l0 = 9 for 8 latents; wanted at",
    ),
    "tokens": (
        (WORLD, "topk"),
        {"changes": {"tokens": 9}},
        "batch = 512 is larger than tokens = 9",
    ),
    "key": ((WORLD, "topk"), {"settings": {"latens": 8}}, "unknown key 'latens'; did you mean"),
    "value": ((WORLD, "topk"), {"settings": {"k": 0}}, "k = 0 for 480 latents"),
    "own": ((WORLD, "topk"), {"settings": {"seed": 8}}, "seed of a cell are its own"),
    "arm": ((WORLD, "pca"), {"settings": {"k": 8}}, "pca learns by no recipe.*: k"),
}


@pytest.mark.parametrize(("given", "more", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_is_refused(given, more, message, tmp_path):
    with pytest.raises(UserError, match=message):
        run_cell(*given, **more, out=tmp_path / "cell")
    assert not (tmp_path / "cell").exists(), "nothing was begun"


def test_all_reasons_at_once():
    with pytest.raises(UserError, match="this cell of x has 2 problems"):
        run_cell("x", "nothing", -1)
    changes = {"latents": 0, "samples": 0, "l0": -1.0, "learning_rate": 0.0}
    with pytest.raises(UserError, match="this comparison on conditional-rotated has 4 problems"):
        run_cell(WORLD, "topk", 0, changes)
