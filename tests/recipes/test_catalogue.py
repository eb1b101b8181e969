import pytest

from monosemy.foundation.errors import UserError
from monosemy.recipes.catalogue import RECIPES, find_recipe
from monosemy.recipes.recipe import ENCODERS, STRUCTURES, check


def test_every_structure_and_encoder_has_a_recipe():
    made = [make() for make in RECIPES.values()]
    assert {recipe.structure for recipe in made} == set(STRUCTURES)
    assert {recipe.encoder for recipe in made} == set(ENCODERS)
    for recipe in made:
        check(recipe)


def test_a_file_is_a_recipe_too(tmp_path):
    (tmp_path / "mine.toml").write_text('selection = "topk"\nk = 5\n')
    assert find_recipe(str(tmp_path / "mine.toml")).k == 5
    (tmp_path / "mine.py").write_text(
        "from monosemy.recipes.catalogue import demo\n\n\ndef other():\n    return demo()\n"
    )
    assert find_recipe(f"{tmp_path / 'mine.py'}:other") == RECIPES["demo"]()


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(UserError, match=r"unknown recipe 'gate'.*did you mean 'gated'\?"):
        find_recipe("gate")
