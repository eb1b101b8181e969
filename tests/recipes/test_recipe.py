from dataclasses import replace

import pytest

from monosemy.foundation.errors import UserError
from monosemy.recipes.recipe import DictionaryRecipe, check
from monosemy.training.local_config import LocalConfig
from monosemy.training.objectives import ObjectiveConfig

RECIPE = DictionaryRecipe()


def test_names_with_commas_are_several():
    recipe = replace(RECIPE, site="a, b,", target="c", compare_with="other")
    assert (recipe.reads, recipe.writes) == (("a", "b"), ("c",))
    assert recipe.models == ("specimen", "other")
    assert recipe.place == "a, b, -> c"


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "batchtopk"),
        ({"encoder": "gated", "selection": "relu"}, "gated"),
        ({"encoder": "lista"}, "lista batchtopk"),
        ({"structure": "transcoder"}, "batchtopk transcoder"),
        ({"objective": ObjectiveConfig(prefixes=(0.5, 1.0))}, "matryoshka batchtopk"),
        ({"objective": ObjectiveConfig(prefixes_sampled=3)}, "matryoshka batchtopk"),
    ],
)
def test_an_architecture_is_called_by_what_is_not_plain(changes, name):
    assert replace(RECIPE, **changes).architecture == name


def test_prefixes_of_layers_are_refused():
    objective = ObjectiveConfig(prefixes=(0.5, 1.0))
    recipe = replace(RECIPE, structure="cross_layer", target="b", objective=objective)
    with pytest.raises(UserError) as caught:
        check(recipe)
    assert str(caught.value) == (
        "prefixes of a cross-layer transcoder: its latents lie by layer, not nested"
    )


def test_no_site_is_refused():
    with pytest.raises(UserError, match="site is empty; name where to read"):
        check(replace(RECIPE, site=" , "))


# --- children -------------------------------------------------------------------------------------


def refused(**changes) -> str:
    with pytest.raises(UserError) as caught:
        check(replace(RECIPE, **changes))
    return str(caught.value)


def test_children_of_an_encoder_that_has_none_are_a_mistake():
    assert refused(local=LocalConfig(children=8, times=2)) == (
        "local.children = 8, local.times = 2: of no effect with encoder = 'linear'; wanted encoder = "
        "local or hierarchical"
    )
    check(replace(RECIPE, local=LocalConfig(children=8, times=2), encoder="local"))


def test_stages_and_charts_of_a_hierarchical_dictionary_are_a_mistake():
    assert refused(encoder="hierarchical", local=LocalConfig(rank=2, charts=8, depth=3)) == (
        "local.charts = 8, local.depth = 3: of no effect with encoder = 'hierarchical'; wanted "
        "encoder = local"
    )
    check(replace(RECIPE, encoder="hierarchical", local=LocalConfig(rank=2, children=3, l0=9)))


@pytest.mark.parametrize("encoder", ["local", "hierarchical"])
def test_what_does_not_go_with_children_is_refused_all_at_once(encoder):
    objective = ObjectiveConfig(prefixes=(0.5, 1.0), decoder="free", l1=0.1)
    text = refused(
        encoder=encoder, selection="topk", whiten=True, objective=objective, latents=8, k=16
    )
    for part in (
        "k = 16 with local.share = 0.5 and local.proposals = 1.7 proposes 13.6 of 8 parents; wanted "
        "at most all",
        "selection = 'topk', wanted batchtopk",
        f"whiten = true does not fold into orthonormal charts ({encoder})",
        f"prefixes of encoder = '{encoder}' are not defined; leave them out",
        f"objective.decoder = 'free': {encoder} wants unit rows",
    ):
        assert part in text


def test_more_charts_than_parents_are_refused():
    text = refused(encoder="local", latents=100, local=LocalConfig(charts=101))
    assert text == "local.charts = 101 for 100 parents; wanted at most one each"
