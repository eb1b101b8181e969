"""All pages of the laboratory: from instruments to a folder."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from monosemy.foundation.errors import UserError
from monosemy.recipes.laboratory import pages
from monosemy.recipes.laboratory.pages import INSTRUMENTS, make_pages
from monosemy.reports.laboratory import Picture
from monosemy.superposition.claims import Claim, Finding
from monosemy.tensors.compute import Compute


@pytest.fixture
def instrument(monkeypatch):
    module = ModuleType("monosemy.recipes.laboratory.planted")

    def examine(compute, progress):
        finding = Finding("seed", compute.seed, "1 run", 7, holds=compute.seed == 7)
        claim = Claim("planted", "Planted", "Said.", "P.", "So.", [finding], "W.", ["x"])
        return claim, [Picture("planted-one", "One.", "<svg/>\n", {"seed": compute.seed})]

    module.examine = examine
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(pages, "INSTRUMENTS", {"planted": "planted"})


def test_every_instrument_writes_its_page_and_the_index_lists_it(instrument, tmp_path):
    claims = make_pages(tmp_path, compute=Compute(seed=7))
    assert [claim.verdict for claim in claims] == ["holds"]
    names = {
        path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()
    }
    assert names == {
        "index.md", "planted.md", "figures/planted-one.svg", "figures/planted-one.json"}  # fmt: skip


def test_a_single_page_keeps_the_others_in_the_index(instrument, tmp_path):
    make_pages(tmp_path, ["planted"])
    assert "[Planted](planted.md)" in (tmp_path / "index.md").read_text()


def test_unknown_pages_are_refused_before_work(tmp_path):
    with pytest.raises(UserError, match="unknown page 'tyos'"):
        make_pages(tmp_path, ["tyos"])


def test_names_of_pages_are_unique_modules():
    assert len(set(INSTRUMENTS.values())) == len(INSTRUMENTS)
