"""Recipes with children where the truth is known: sizes by hand, equal conditions, one difference."""

from dataclasses import replace

import pytest

from monosemy.data.features.worlds import open_world
from monosemy.recipes import truth_local
from monosemy.recipes.building import parameters
from monosemy.recipes.recipe import DictionaryRecipe, check
from monosemy.recipes.truth_protocol import protocol_for
from monosemy.training.local_config import FOUND, ONE_EACH

WORLD = "conditional-rotated"
MAKERS = {
    "found": truth_local.local, "quarter": truth_local.local_quarter, "own": truth_local.local_own,
    "random": truth_local.local_random, "hierarchical": truth_local.hierarchical,
}  # fmt: skip


@pytest.fixture(scope="module")
def recipes() -> dict[str, DictionaryRecipe]:
    protocol = protocol_for(WORLD)
    return {name: make(WORLD, protocol, 3) for name, make in MAKERS.items()}


def test_sizes_are_those_of_the_world():
    features = open_world(WORLD).features
    assert truth_local.sizes(features, 480) == (96, 4)
    assert truth_local.sizes(features, 100) == (20, 4)  # too few for the world's own


def test_the_share_of_children_is_the_worlds():
    """0.8 of the active parents have an active child, and nothing else is active."""
    share = truth_local.share_of_children(open_world(WORLD).features)
    assert share == pytest.approx(0.8 / 1.8, rel=1e-3)


def test_local_codes_are_as_deep_as_what_is_planted():
    depths = {}
    for world in (WORLD, "conditional-deep", "synthsaebench-2k"):
        protocol = protocol_for(world)
        depths[world] = truth_local.local(world, protocol, 0).local.depth
        assert truth_local.hierarchical(world, protocol, 0).local.depth == 2
    assert depths == {WORLD: 2, "conditional-deep": 3, "synthsaebench-2k": 2}


def test_all_are_sound_and_see_the_same_samples(recipes):
    for recipe in recipes.values():
        check(recipe)
        assert (recipe.world, recipe.seed, recipe.latents) == (WORLD, 3, 96)
        assert recipe.local.latents(96) == 480
    assert len({(r.world_seed, r.tokens, r.batch, r.local.l0) for r in recipes.values()}) == 1


def test_they_differ_in_their_charts_alone(recipes):
    charts = {name: recipe.local.charts for name, recipe in recipes.items()}
    assert charts == {
        "found": FOUND, "quarter": 24, "own": ONE_EACH, "random": 24, "hierarchical": ONE_EACH,
    }  # fmt: skip
    assert [name for name, r in recipes.items() if r.local.random_charts] == ["random"]
    assert recipes["own"].encoder == "local"
    assert replace(recipes["own"], encoder="hierarchical") == recipes["hierarchical"]


def test_none_has_more_parameters_than_a_flat_dictionary_of_as_many_latents(recipes):
    flat = parameters(DictionaryRecipe(latents=480), (48,), (48,))
    sizes = {name: parameters(recipe, (48,), (48,)) for name, recipe in recipes.items()}
    assert max(sizes.values()) < flat
    assert sizes["quarter"] < sizes["own"] < sizes["hierarchical"]
