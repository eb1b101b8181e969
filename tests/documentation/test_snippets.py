"""Python shown in the documentation runs: a page is one Python session, typed top to bottom."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
_BLOCK = re.compile(r"(<!-- not run -->\s*)?^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def snippets(text: str) -> Iterator[tuple[bool, str]]:
    """Whether each block runs, and its code, on the lines that it has in the page."""
    for found in _BLOCK.finditer(text):
        above = text[: found.start(2)].count("\n")
        yield not found[1], "\n" * above + found[2]


def run(page: Path) -> None:
    """Compile every block of a page; execute those that are not marked, in one namespace."""
    session: dict[str, Any] = {"__name__": "__snippet__"}
    for runs, code in snippets(page.read_text(encoding="utf-8")):
        compiled = compile(code, str(page), "exec")
        if runs:
            exec(compiled, session)


WITH_PYTHON = [page for page in PAGES if any(snippets(page.read_text(encoding="utf-8")))]


@pytest.mark.usefixtures("folder", "need_specimen")
@pytest.mark.parametrize("page", WITH_PYTHON, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_snippets_run(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(page)


def test_wrong_snippets_fail(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("text\n```python\na = 1\n```\n\n```python\nassert a == 2\n```\n")
    with pytest.raises(AssertionError) as failed:
        run(page)
    assert failed.traceback[-1].lineno + 1 == 7  # the line in the page
    page.write_text("<!-- not run -->\n```python\n1 / 0\n```\n")
    run(page)
    page.write_text("<!-- not run -->\n```python\n1 /\n```\n")
    with pytest.raises(SyntaxError):
        run(page)
