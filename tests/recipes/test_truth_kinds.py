"""Every kind is a recipe that can be, under equal conditions, and learns."""

import pytest
import torch

from monosemy.data.features.source import WorldSource
from monosemy.data.features.worlds import WORLDS, open_world
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


@pytest.mark.parametrize("kind", ["topk", "matryoshka", "batchtopk_pruned"])
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
