"""From a run to a verdict: worlds with and without planted sharing, both nulls, refusals."""

import json

import pytest
import torch

from monosemy.data.features.worlds import open_world
from monosemy.dictionaries import files
from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.local import LocalDictionary
from monosemy.dictionaries.selection import BatchTopK
from monosemy.foundation.errors import UserError
from monosemy.recipes.dictionary import train_dictionary
from monosemy.recipes.recipe import DictionaryRecipe
from monosemy.recipes.sharing import SharingConfig, curves, heldout, measure_sharing, open_run
from monosemy.recipes.truth import run_cell

WORLDS = ("conditional-rotated", "conditional-analogy", "conditional-unshared")
PARENTS, PLANTED, RANK = 96, 12, 3
# Activations of parents are at least 1; what the others leave along one of them is rarely half of it.
PROPOSED = 0.6


def told(name, seed, folder):
    """A cell whose dictionary is the world's own features, so that the curve alone is on trial."""
    run_cell(name, "batchtopk", seed, {"tokens": 512, "latents": 480, "samples": 100}, out=folder)
    files.save(truth(open_world(name, seed).features), folder / "dictionary")
    return folder


def truth(features):
    d = features.directions
    parents = (features.levels == 0).nonzero()[:, 0]
    children = torch.stack([d[features.parents == p] for p in parents.tolist()])
    charts = torch.stack([features.charts[features.parents == p][0] for p in parents.tolist()])
    numbers, routes = charts.unique(return_inverse=True)
    V = torch.stack([torch.linalg.svd(children[routes == s].flatten(0, 1))[2][:RANK]
                     for s in range(len(numbers))])  # fmt: skip
    C = children @ V[routes].transpose(1, 2)
    trunk = FlatDictionary(d[parents].clone(), torch.zeros(PARENTS), d[parents].clone(),
                           torch.zeros(features.width), BatchTopK(2))  # fmt: skip
    trunk.eval().selection.threshold.fill_(PROPOSED)
    return LocalDictionary(trunk, V, routes, C, rounds=3, floor=0.8)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", WORLDS)
def test_planted_charts_are_counted_and_none_are_invented(name, seed, tmp_path):
    config = SharingConfig(tokens=40_000, rank=3, draws=3)
    found = measure_sharing(told(name, seed, tmp_path), config).to_json()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["parents"] == PARENTS
    if name == "conditional-unshared":
        assert found["knee"]["value"] is None
        assert found["verdict"]["used"] is False
    else:
        assert abs(found["knee"]["value"] - PLANTED) <= 0.2 * PLANTED
        assert found["verdict"]["used"] is True
    assert "no model behind it" in found["nulls"]["random_model"]["note"]


def test_the_same_again(tmp_path):
    told("conditional-rotated", 0, tmp_path)
    config = SharingConfig(tokens=10_000, rank=3, draws=1, parents=32)
    first, second = (measure_sharing(tmp_path, config).to_json() for _ in range(2))
    assert first == second
    assert first["parents"] <= 32
    assert first["dropped"]["beyond_the_most"] == PARENTS - 32


def test_the_random_model_is_trained_once_and_kept(recipe, tmp_path):
    train_dictionary(recipe, tmp_path)
    config = SharingConfig(tokens=300, rank=1, draws=1)
    found = measure_sharing(tmp_path, config).to_json()
    other = found["nulls"]["random_model"]
    assert other["curve"] != found["curve"]
    kept = tmp_path / "controls" / "random_model" / "checkpoint.pt"
    written = kept.stat().st_mtime_ns
    assert measure_sharing(tmp_path, config).to_json() == found
    assert kept.stat().st_mtime_ns == written
    alone = measure_sharing(
        tmp_path, SharingConfig(tokens=300, rank=1, draws=1, random_model=False)
    )
    assert alone.to_json()["nulls"]["random_model"] == {"note": "left out"}


def test_what_is_measured_is_not_what_was_learned_from():
    recipe = DictionaryRecipe(world="conditional-rotated", tokens=4096)
    from monosemy.recipes.setting import open_source

    assert not torch.equal(heldout(recipe, 100).rows(0, 100),
                           open_source(recipe).source.rows(0, 100))  # fmt: skip


def test_a_cell_is_opened_as_it_was_measured(tmp_path):
    told("conditional-rotated", 0, tmp_path)
    _, dictionary, folder = open_run(tmp_path)
    assert folder == tmp_path / "run"
    assert isinstance(dictionary, LocalDictionary)
    assert isinstance(open_run(folder)[1], FlatDictionary)


def test_refusals(tmp_path, recipe):
    train_dictionary(recipe, tmp_path / "run")
    with pytest.raises(UserError) as told:
        measure_sharing(tmp_path / "run", SharingConfig(tokens=0, rank=33, samples=2, parents=3))
    for reason in (
        "tokens = 0; wanted at least 2",
        "samples = 2; wanted at least 8",
        "parents = 3; wanted at least 8",
        "rank = 33 where activations have 32 numbers; a chart has at most as many dimensions",
    ):
        assert reason in str(told.value)
    with pytest.raises(
        UserError, match=r"parents leave over what can be looked at; wanted at least 8"
    ):
        measure_sharing(tmp_path / "run", SharingConfig(tokens=20, rank=4, random_model=False))
    with pytest.raises(UserError, match="nowhere"):
        measure_sharing(tmp_path / "nowhere")
    (tmp_path / "run" / "dictionary" / files.CONFIG).unlink()
    with pytest.raises(UserError, match="has no dictionary yet"):
        measure_sharing(tmp_path / "run")


def test_every_draw_of_the_null_is_another():
    from monosemy.evaluation.sharing import Half
    from monosemy.tensors.compute import Compute
    from monosemy.training.charts import Bank

    draw = torch.Generator().manual_seed(0)
    halves = []
    for _ in range(2):
        bank = Bank(8, 6, 5, torch.zeros(0))
        bank.add(torch.arange(8).repeat_interleave(6), torch.randn(48, 5, generator=draw),
                 torch.ones(48))  # fmt: skip
        halves.append(Half.of(bank, 1))
    found = curves(tuple(halves), torch.ones(8), 1, 3, Compute())
    firsts = {round(float(one.sums[1]), 6) for one in (found.curve, *found.turned)}
    assert len(firsts) == 4
    lasts = torch.stack([one.sums[-1] for one in (found.curve, *found.turned)])
    torch.testing.assert_close(lasts, lasts[:1].expand(4), atol=1e-4, rtol=1e-4)
