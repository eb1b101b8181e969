"""Every relative link of the documentation leads somewhere, every file it names is there."""

import re
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"`((?:[\w-]+/)+[\w-]+\.(?:py|md))\b[^`]*`")
_HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)


def broken(page: Path) -> list[str]:
    """Links of a page to files and headings that are not there."""
    return [link for link in _links(page) if not _leads_somewhere(page, link)]


def missing_files(text: str) -> list[str]:
    """Paths of modules, tests and pages that the text names and nobody has written."""
    roots = (ROOT, ROOT / "src" / "monosemy", ROOT / "docs")
    named = _FILE.findall(_CODE.sub("", text))
    return [name for name in named if not any((root / name).exists() for root in roots)]


def _links(page: Path) -> list[str]:
    found = _LINK.findall(_CODE.sub("", page.read_text(encoding="utf-8")))
    return [link for link in found if not re.match(r"[a-z]+:", link)]


def _leads_somewhere(page: Path, link: str) -> bool:
    path, _, heading = unquote(link).partition("#")
    target = (page.parent / path).resolve() if path else page
    if not target.exists():
        return False
    return not heading or heading in _anchors(target)


def _anchors(page: Path) -> set[str]:
    """As GitHub makes them: lower case, punctuation dropped, spaces to hyphens."""
    text = _CODE.sub("", page.read_text(encoding="utf-8"))
    kept = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in _HEADING.findall(text))
    return {heading.strip().replace(" ", "-") for heading in kept}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_resolve(page: Path) -> None:
    assert broken(page) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_files_that_are_named_exist(page: Path) -> None:
    assert missing_files(page.read_text(encoding="utf-8")) == []


def test_a_missing_file_is_found() -> None:
    text = "`data/text.py`, `data/text.py: open_corpus`, `data/texts.py`, `docs/tour.md`, `x/y`"
    assert missing_files(text) == ["data/texts.py"]


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    (tmp_path / "there.md").write_text("# What's here, then?\n")
    page = tmp_path / "page.md"
    page.write_text(
        "[a](there.md) [b](gone.md) [c](there.md#whats-here-then) [d](there.md#no) [e](#me)\n"
        "[f](https://example.org/x) `[g](h)`\n# Me\n```\n[not](a-link.md)\n```\n"
    )
    assert broken(page) == ["gone.md", "there.md#no", "h"]
