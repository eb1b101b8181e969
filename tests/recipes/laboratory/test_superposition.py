"""Experiments by name: each is there, refuses what cannot be, and makes its part of the page."""

from __future__ import annotations

import importlib

import pytest

from monosemy.foundation.errors import UserError
from monosemy.recipes.laboratory import superposition
from monosemy.recipes.laboratory.superposition import EXPERIMENTS, examine, run_experiment
from monosemy.recipes.laboratory.toys import Found
from monosemy.reports.laboratory import Picture
from monosemy.superposition.claims import Finding
from monosemy.tensors.compute import Compute


def test_every_experiment_has_its_settings():
    for module_name, settings_name, line in EXPERIMENTS.values():
        module = importlib.import_module(f"monosemy.recipes.laboratory.{module_name}")
        assert getattr(module, settings_name)().training.steps > 0
        assert module.TITLE
        assert line.endswith(".")


def test_unknown_experiments_and_impossible_steps_are_refused_before_work(tmp_path):
    with pytest.raises(UserError, match="unknown experiment 'plateus'.*did you mean 'plateaus'"):
        run_experiment("plateus", runs=tmp_path)
    with pytest.raises(UserError, match="steps = 0; wanted at least 1"):
        run_experiment("onset", steps=0, runs=tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_page_gathers_every_experiment_but_the_phases(monkeypatch):
    asked = []

    def found(name, compute, steps, runs, progress):
        asked.append(name)
        finding = Finding("share", 1.0, "2 models", holds=name != "onset")
        return Found(name, f"Of {name}", {}, [finding], [Picture(name, "One.", "<svg/>", {})],
                     "Said.", {"training": {"steps": 5}})  # fmt: skip

    monkeypatch.setattr(superposition, "run_experiment", found)
    claim, pictures = examine(Compute(seed=3))
    assert asked == [name for name in EXPERIMENTS if name != "phases"]
    assert claim.verdict == "holds in part"
    assert len(pictures) == len(claim.findings) == len(claim.commands) == len(EXPERIMENTS) - 1
    assert "*Of onset* (does not hold): Said." in claim.words
    assert claim.settings["seed"] == 3
