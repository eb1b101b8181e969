"""Every public name exists, is documented, and is used in a snippet that runs."""

import re
from pathlib import Path

import pytest

import monosemy


def undocumented(text: str) -> list[str]:
    """Public names without a line in the table, or without a use in a snippet."""
    return [
        name
        for name in monosemy.__all__
        if not re.search(rf"^\| `{name}` \| .+ \|$", text, re.MULTILINE)
        or f"monosemy.{name}" not in text
    ]


def test_every_public_name_has_its_line_and_its_use(root: Path) -> None:
    assert undocumented((root / "docs" / "api.md").read_text(encoding="utf-8")) == []


def test_every_line_is_about_a_public_name(root: Path) -> None:
    text = (root / "docs" / "api.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)) == sorted(monosemy.__all__)


def test_a_name_without_line_or_use_is_found(root: Path) -> None:
    text = (root / "docs" / "api.md").read_text(encoding="utf-8")
    assert undocumented(text.replace("| `pack` |", "| `puck` |")) == ["pack"]
    assert undocumented(text.replace("monosemy.run_demo", "monosemy.demo")) == ["run_demo"]


@pytest.mark.parametrize("name", monosemy.__all__)
def test_every_public_name_exists_and_explains_itself(name: str) -> None:
    assert (getattr(monosemy, name).__doc__ or "").strip()
    assert name in dir(monosemy)


def test_other_names_do_not_exist() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'lode_model'"):
        monosemy.lode_model  # noqa: B018
