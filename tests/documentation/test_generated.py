"""The generated pages are what the code would write now."""

import importlib.util
import shutil
from dataclasses import dataclass, fields
from pathlib import Path
from types import ModuleType

import pytest

from monosemy.cli import VERBS
from monosemy.recipes.config import keys_of
from monosemy.recipes.recipe import DictionaryRecipe


@pytest.fixture(scope="module")
def generate(root: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", root / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def copy(root: Path, tmp_path: Path) -> Path:
    """A copy of the documentation, to be spoiled."""
    shutil.copytree(root / "docs", tmp_path / "docs")
    return tmp_path / "docs"


def test_pages_are_up_to_date(generate: ModuleType, root: Path) -> None:
    assert generate.stale(root / "docs") == []


def test_a_changed_a_missing_and_a_left_over_page_fail(
    generate: ModuleType, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = copy / "cli" / "train.md"
    page.write_text(page.read_text(encoding="utf-8").replace("--latents", "--latent"))
    (copy / "recipe-keys.md").unlink()
    (copy / "cli" / "fly.md").write_text("a verb that is gone")
    assert generate.main(["--check"], copy) == 1
    assert capsys.readouterr().err.splitlines() == [
        "docs/cli/fly.md is stale; run: make docs",
        "docs/cli/train.md is stale; run: make docs",
        "docs/recipe-keys.md is stale; run: make docs",
    ]
    assert generate.main([], copy) == 0
    assert generate.main(["--check"], copy) == 0
    assert not (copy / "cli" / "fly.md").exists()


def test_an_unknown_argument_is_a_mistake(generate: ModuleType, tmp_path: Path) -> None:
    assert generate.main(["--chekc"], tmp_path) == 2
    assert not list(tmp_path.iterdir())


def test_pages_do_not_depend_on_the_terminal(
    generate: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = generate.pages()
    monkeypatch.setenv("COLUMNS", "40")
    assert generate.pages() == before


def test_every_verb_and_every_key_has_its_place(generate: ModuleType) -> None:
    pages = generate.pages()
    assert {f"cli/{verb}.md" for verb in VERBS} < pages.keys()
    assert "Usage: monosemy specimen sample" in pages["cli/specimen.md"]
    for key in keys_of(DictionaryRecipe):
        assert f"| `{key}` |" in pages["recipe-keys.md"]


def test_every_field_of_a_recipe_has_a_sentence(generate: ModuleType) -> None:
    sentences = generate.field_sentences(DictionaryRecipe)
    assert sentences.keys() == {field.name for field in fields(DictionaryRecipe)}
    assert sentences["latents"] == (
        "Size of the dictionary; of each layer, for a cross-layer transcoder."
    )


@dataclass
class Half:
    """A recipe with one field explained."""

    told: int = 1
    """What ``it``
    is."""
    untold: int = 2


def test_a_field_without_a_sentence_is_noticed(generate: ModuleType) -> None:
    assert generate.field_sentences(Half) == {"told": "What `it` is."}
    with pytest.raises(KeyError, match="untold"):
        list(generate._keys(Half()))
