"""Every kind is a recipe that can be, under equal conditions, and learns."""

import pytest
import torch

from monosemy.data.features.source import WorldSource
from monosemy.data.features.worlds import WORLDS, open_world
from monosemy.dictionaries import files
from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.pruned import PrunedDictionary
from monosemy.dictionaries.selection import BatchTopK
from monosemy.recipes.recipe import check
from monosemy.recipes.truth import run_cell
from monosemy.recipes.truth_arms import ARMS
from monosemy.recipes.truth_kinds import KINDS, at_true_l0
from monosemy.recipes.truth_protocol import protocol_for, world_seed
from monosemy.tensors.compute import Compute
from monosemy.training.start import look

WORLD = "conditional-rotated"


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_fits_every_small_world_under_its_protocol(kind):
    for world in sorted(WORLDS.keys() - {"synthsaebench-16k"}):
        protocol = protocol_for(world)
        recipe = KINDS[kind].recipe(world, protocol, 3)
        check(recipe)
        assert (recipe.world, recipe.seed, recipe.tokens) == (world, 3, protocol.tokens)
        assert recipe.world_seed == world_seed(protocol, 3)
        assert recipe.latents <= protocol.latents
    assert KINDS[kind].about.endswith((".", ","))


def test_kinds_and_arms_have_different_names():
    assert not KINDS.keys() & ARMS.keys()


# Not a pruned one: what pruning leaves out may well have helped the fit.
@pytest.mark.parametrize("kind", ["topk", "matryoshka"])
def test_a_kind_learns(kind):
    """A short training fits better than no training, at an L0 near the true one."""
    short = {"tokens": 80_000, "samples": 2_000}
    found = run_cell(WORLD, kind, 0, short)
    random = run_cell(WORLD, "random", 0, short)
    assert found["fvu"] < random["fvu"]
    assert found["l0"] == pytest.approx(3.24, rel=0.25)


def test_the_threshold_is_where_l0_is_the_true_one():
    from monosemy.recipes.dictionary import begin
    from monosemy.recipes.setting import Widths

    protocol = protocol_for(WORLD, {"latents": 50, "l0": 2.6})
    recipe = KINDS["batchtopk"].recipe(WORLD, protocol, 0)
    rows = WorldSource(open_world(WORLD), 4096, Compute()).rows(0, 4096)
    width = (48,)
    dictionary = begin(recipe, Widths(width, width), rows, look(rows), 10).result().eval()
    at_true_l0(dictionary, protocol, rows)
    counts = dictionary.code(rows).counts.to(torch.float64)
    assert float(counts.mean()) == pytest.approx(2.6, abs=1e-3)


def test_octaves_are_halvings_down_to_sixteen_latents():
    for latents, count in ((512, 6), (4096, 9), (480, 5), (20, 1), (8, 1)):
        protocol = protocol_for(WORLD, {"latents": latents, "l0": 2.0})
        objective = KINDS["octaves"].recipe(WORLD, protocol, 0).objective
        assert objective.prefixes == tuple(2.0**-n for n in range(count - 1, -1, -1))
        assert objective.prefixes_detached
        assert objective.tilt == 0


def test_pruning_asks_for_half_of_a_usual_activation():
    rows = torch.tensor([[4.0, 0.0], [0.0, 2.0], [0.0, 0.0]])
    selection = BatchTopK(1)
    dictionary = FlatDictionary.tied(torch.eye(2), torch.zeros(2), selection).eval()
    protocol = protocol_for(WORLD, {"latents": 2, "l0": 2 / 3})
    made = KINDS["batchtopk_pruned"].after(dictionary, protocol, rows)
    assert made.threshold == pytest.approx(1.5)


def test_what_is_shared_out_and_pruned_can_be_kept(tmp_path):
    short = {"tokens": 80_000, "samples": 2_000}
    found = run_cell(WORLD, "octaves_siblings_pruned", 0, short, out=tmp_path)
    kept = files.load(tmp_path / "dictionary")
    assert isinstance(kept, PrunedDictionary)
    assert kept.inner.selection.kind == "jumprelu"
    rows = WorldSource(open_world(WORLD), 2048, Compute(seed=9)).rows(0, 2048)
    assert float(kept.code(rows).counts.double().mean()) == pytest.approx(found["l0"], rel=0.1)
