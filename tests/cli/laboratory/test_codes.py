"""``monosemy lab codes``: what it prints, and where it writes."""

from __future__ import annotations

import json

import numpy as np


def test_the_cube(monosemy, tmp_path):
    said = monosemy("lab", "codes", "--cube", "--json", "--out", "found")
    assert (said.code, said.err) == (0, "")
    found = json.loads(said.out)
    assert (found["ccgp"], found["shattering_count"]) == (1, 7)
    assert json.loads((tmp_path / "found" / "codes.json").read_text()) == found
    assert (tmp_path / "found" / "codes.svg").read_text().startswith("<?xml")


def test_files_of_ones_own(monosemy, tmp_path):
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 2, (400, 2))
    x = labels @ np.eye(2, 6) + 0.1 * draw.normal(size=(400, 6))
    np.save(tmp_path / "x.npy", x)
    rows = "\n".join(f"{a},{b}" for a, b in labels)
    (tmp_path / "y.csv").write_text(f"size,colour\n{rows}\n")
    words = ("lab", "codes", "--activations", "x.npy", "--labels", "y.csv", "--draws", 2)
    said = monosemy(*words, "--json")
    assert said.code == 0, said.err
    found = json.loads(said.out)
    assert found["variables"]["size"]["ccgp"]["value"] > 0.99
    assert found["variables"]["colour"]["kind"].startswith("global")
    said = monosemy(*words, "-q")
    assert "400 samples" in said.out or "samples of" in said.out


def test_mistakes_are_told_before_work(monosemy, tmp_path):
    said = monosemy("lab", "codes", "--cube", "--activations", "x.npy", "--text", "t")
    assert (said.code, said.out) == (2, "")
    for piece in ("--cube and --activations were given", "go together", "--text without --model"):
        assert piece in said.err
    said = monosemy("lab", "codes", "--cube", "--width", 3)
    assert "width is 3; wanted at least 7" in said.err
    said = monosemy("lab", "codes", "--draws", 0)
    assert "draws is 0; wanted at least 1" in said.err
