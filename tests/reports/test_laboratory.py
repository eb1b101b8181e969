"""Pages of the laboratory: Markdown, figures with their data, an index."""

from __future__ import annotations

import json
from io import StringIO

import pytest
from rich.console import Console

from monosemy.foundation.errors import UserError
from monosemy.reports.laboratory import Picture, claim_report, drawn, markdown, write, write_index
from monosemy.superposition.claims import PLANTED, Claim, Finding


def claim() -> Claim:
    findings = [
        Finding("rank of 64 | numbers", 63, "200 vectors", 63, holds=True),
        Finding("circles", 2.25, "8 features", 2, PLANTED, False, low=2.0, high=2.5),
        Finding("share", 0.00012, "9 pairs"),
    ]
    return Claim("freedom", "Freedom", "Said.", "A paper.", "So.", findings, "Words.",
                 ["monosemy lab freedom --width 64"], {"seed": 0})  # fmt: skip


def picture() -> Picture:
    svg = drawn(lambda figure: figure.subplots().plot([0, 1], [1, 2]), (3, 2))
    return Picture("freedom-ranks", "Ranks.", svg, {"x": [0, 1], "y": [1, 2]})


def test_a_page_has_claim_verdict_numbers_and_commands():
    page = markdown(claim(), [picture()])
    assert "**Verdict: holds in part.**" in page
    assert "| rank of 64 \\| numbers | reference | 63 | 63 | 200 vectors | yes |" in page
    assert "2.25 [2, 2.5]" in page
    assert "1.20e-04" in page
    assert "monosemy lab freedom --width 64" in page
    assert "![Ranks.](figures/freedom-ranks.svg)" in page


def test_files_of_a_page_hold_what_was_drawn(tmp_path):
    page = write(claim(), [picture()], tmp_path)
    assert page == tmp_path / "freedom.md"
    figures = tmp_path / "figures"
    assert (figures / "freedom-ranks.svg").read_text().startswith("<?xml")
    assert json.loads((figures / "freedom-ranks.json").read_text()) == picture().data
    index = write_index(tmp_path, ["norms", "freedom"]).read_text()
    assert "| [Freedom](freedom.md) | Said. | **holds in part** |" in index
    assert "norms" not in index


def test_a_page_that_is_none_is_named(tmp_path):
    (tmp_path / "freedom.md").write_text("# Freedom\n", encoding="utf-8")
    with pytest.raises(UserError, match="has no claim; make it anew: monosemy lab pages freedom"):
        write_index(tmp_path, ["freedom"])


def test_the_same_numbers_give_the_same_bytes():
    assert picture().svg == picture().svg


def test_the_terminal_shows_disagreement():
    out = StringIO()
    Console(file=out, width=120).print(claim_report(claim()))
    assert "Freedom: holds in part" in out.getvalue()
    assert "circles (planted)" in out.getvalue()
