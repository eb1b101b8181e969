"""Every example runs as it is."""

import runpy
from pathlib import Path

import pytest

from monosemy.recipes import config
from monosemy.recipes.catalogue import find_recipe
from monosemy.recipes.dictionary import train_dictionary
from monosemy.recipes.recipe import DictionaryRecipe, check

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
# What an example has to print to have done its work; recipe files print nothing.
SAYS = {
    "any_matrix.py": "true directions found",
    "capture_and_train.py": "equal bit for bit: True",
    "local_code.py": "child F1",
    "read_a_site.py": "neurons on; strongest",
    "splice.py": "cross-entropy recovered from zero ablation",
    "tiny_dictionary.py": "latents are active on a token",
}
RECIPES = {"my_recipe.py": ("narrow", "narrow_from_random")}
LONGEST = 60


def test_every_example_is_known() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == {*SAYS, *RECIPES}


@pytest.mark.parametrize("name", SAYS)
def test_examples_run(
    name: str,
    need_specimen: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", [name])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    assert SAYS[name] in capsys.readouterr().out


@pytest.mark.parametrize("name", [*SAYS, *RECIPES])
def test_examples_are_short_and_say_how_they_are_run(name: str) -> None:
    text = (EXAMPLES / name).read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LONGEST
    assert f"examples/{name}" in text.split('"""')[1]


@pytest.mark.parametrize(
    ("name", "function"), [(name, function) for name in RECIPES for function in RECIPES[name]]
)
def test_recipes_are_found_and_sound(name: str, function: str) -> None:
    recipe = find_recipe(f"{EXAMPLES / name}:{function}")
    check(recipe)
    assert recipe != DictionaryRecipe()


def test_a_recipe_trains(folder: Path, need_specimen: None) -> None:
    recipe = find_recipe(f"{EXAMPLES / 'my_recipe.py'}:narrow")
    small = {"text": "texts", "tokens": 1024, "latents": 64, "batch": 256, "context": 32}
    dictionary = train_dictionary(config.override(recipe, small), folder / "run")
    assert (dictionary.latents, dictionary.width) == (64, 128)
