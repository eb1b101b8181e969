"""The page of the phase diagram."""

from __future__ import annotations

from monosemy.recipes.laboratory import phases
from monosemy.recipes.laboratory.toys import Found
from monosemy.superposition.claims import Finding
from monosemy.tensors.compute import Compute


def test_the_page_says_how_it_was_trained(monkeypatch):
    settings = {"cells": 4, "fits": 2, "training": {"steps": 5, "batch": 6, "learning_rate": 1e-2}}
    finding = Finding("cells", 0.97, "30 cells", "at least 0.95", holds=True)
    found = Found("phases", "Title", {}, [finding], [], "Words.", settings)
    monkeypatch.setattr(phases, "run_experiment", lambda name, compute, progress: found)
    claim, pictures = phases.examine(Compute(seed=2))
    assert (claim.name, claim.verdict, list(pictures)) == ("phases", "holds", [])
    assert claim.settings == {"seed": 2, "cells": 4, "fits": 2, "steps": 5, "batch": 6}
    assert "4 − 5s" in claim.method
