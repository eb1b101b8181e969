"""``monosemy lab toy``: what it says, what it writes, what it refuses."""

from __future__ import annotations

import json

from monosemy.cli.laboratory.toy import EXPERIMENTS
from monosemy.recipes.laboratory import superposition


def test_the_overview_is_that_of_the_recipes(monosemy):
    said = monosemy("lab", "toy", "--help")
    assert said.code == 0
    assert all(name in said.out for name in (*EXPERIMENTS, "all"))
    assert {name: line for name, (_, _, line) in superposition.EXPERIMENTS.items()} == EXPERIMENTS
    assert "Examples:" in monosemy("lab", "toy", "phases", "--help").out


def test_an_experiment_is_printed_and_written(monosemy, tmp_path, monkeypatch):
    from monosemy.recipes.laboratory import toy_onset
    from monosemy.recipes.laboratory.toys import ToySettings

    small = toy_onset.OnsetSettings(4, 1, 0.7, (1.0, 0.1), 1, ToySettings(20, 16, 1e-2))
    monkeypatch.setattr(toy_onset, "OnsetSettings", lambda: small)
    said = monosemy("lab", "toy", "onset", "--steps", 25, "--seed", 3, "--out", "found", "--json")
    assert (said.code, said.err) == (0, "")
    told = json.loads(said.out)
    assert told["experiment"] == "onset"
    assert told["settings"]["training"]["steps"] == 25
    assert all(finding["n"] for finding in told["findings"])
    assert json.loads((tmp_path / "found" / "onset.json").read_text()) == told
    assert (tmp_path / "found" / "superposition-onset.svg").read_text().startswith("<?xml")
    assert any((tmp_path / "runs" / "toys").iterdir())
    printed = monosemy("lab", "toy", "onset", "--steps", 25, "--seed", 3, "-q")
    assert printed.code == 0
    assert "Superposition begins with sparsity" in printed.out


def test_mistakes_are_told_before_work(monosemy, tmp_path):
    said = monosemy("lab", "toy", "plateux")
    assert (said.code, said.out) == (2, "")
    assert "unknown experiment 'plateux'; known: phases, plateaus" in said.err
    assert "did you mean 'plateaus'?" in said.err
    said = monosemy("lab", "toy", "phases", "--steps", 0)
    assert said.code == 2
    assert "steps = 0; wanted at least 1" in said.err
    assert not (tmp_path / "runs").exists()
