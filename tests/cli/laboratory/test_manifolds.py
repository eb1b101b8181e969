"""``monosemy lab manifolds``: what it prints, and where it writes."""

from __future__ import annotations

import json


def test_the_dictionary_of_a_run(monosemy, small, tmp_path):
    assert monosemy("train", *small, "--out", "run", "-q").code == 0
    words = ("lab", "manifolds", "run", "--tokens", 1000, "--clusters", 2, "--rank", 1)
    said = monosemy(*words, "--neighbourhoods", 3, "--json", "--out", "found")
    assert said.code == 0, said.err
    found = json.loads(said.out)
    assert json.loads((tmp_path / "found" / "manifolds.json").read_text()) == found
    assert (tmp_path / "found" / "manifolds.svg").read_text().startswith("<?xml")
    assert found["subspaces"]["gaussian"]["points"] == found["subspaces"]["points"]
    assert "families with a shape are circles" in monosemy(*words, "-q").out


def test_mistakes_are_told_before_work(monosemy):
    said = monosemy("lab", "manifolds", "nowhere")
    assert (said.code, said.out) == (2, "")
    assert "nowhere" in said.err
    said = monosemy("lab", "manifolds", "--circles", 0)
    assert "circles is 0; wanted at least 1" in said.err
    said = monosemy("lab", "manifolds", "run", "--rank", 0, "--tokens", 3)
    assert "rank is 0; wanted at least 1" in said.err
