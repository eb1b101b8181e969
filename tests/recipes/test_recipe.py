from dataclasses import replace

import pytest

from monosemy.foundation.errors import UserError
from monosemy.recipes.recipe import DictionaryRecipe, check
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
