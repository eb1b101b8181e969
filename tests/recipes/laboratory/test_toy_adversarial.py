"""Vulnerability in small: it rises with superposition; without it there is none to rise."""

from __future__ import annotations

from monosemy.recipes.laboratory.toy_adversarial import run
from monosemy.recipes.laboratory.toy_plateaus import PlateauSettings
from monosemy.recipes.laboratory.toys import ToySettings
from monosemy.superposition.claims import NULL, PLANTED


def test_it_rises_with_superposition(tmp_path):
    settings = PlateauSettings(12, 3, (1, 1.5, 3.0, 8.0), 1, ToySettings(500, 64, 2e-2))
    found = run(settings, runs=tmp_path)
    rows = found.numbers["densities"]
    assert rows[-1]["vulnerability"] > 2 * rows[0]["vulnerability"]
    assert all(row["random_attack"] < row["vulnerability"] for row in rows)
    assert all(abs(row["without_superposition"] - 1) < 1e-3 for row in rows)
    assert all(f.holds for f in found.findings if f.kind in (NULL, PLANTED))
