"""The page of the phase diagram."""

from __future__ import annotations

from collections.abc import Sequence

from monosemy.foundation.progress import SILENT, Progress
from monosemy.recipes.laboratory.superposition import run_experiment
from monosemy.reports.laboratory import Picture
from monosemy.superposition.claims import Claim
from monosemy.tensors.compute import Compute


def examine(compute: Compute, progress: Progress = SILENT) -> tuple[Claim, Sequence[Picture]]:
    """Both diagrams, trained, beside the closed form."""
    found = run_experiment("phases", compute, progress=progress)
    training = found.settings["training"]
    claim = Claim(
        "phases", found.title,
        "Whether a feature is ignored, shares its dimension or has one of its own changes at sharp "
        "boundaries of density and importance, which can be written down.",
        "Elhage et al. 2022, Toy Models of Superposition (TMS), arXiv:2209.10652, and its notebook of "
        "exact models.",
        METHOD, found.findings, found.words, ["monosemy lab toy phases"],
        {"seed": compute.seed, "cells": found.settings["cells"], "fits": found.settings["fits"],
         "steps": training["steps"], "batch": training["batch"]},
    )  # fmt: skip
    return claim, found.pictures


METHOD = """\
A model of n features in n − 1 numbers, `x' = ReLU(WᵀW x + b)`; one feature, the extra one, has
importance r and the others 1. With density s the ideal codes cost `r (s/3 − s²/4)` (the extra feature
is ignored), `(1 + r) s²/6` (it shares a dimension as one of an antipodal pair), `s/3 − s²/4` (another
one is ignored), and for three features `s²/3` (two others share). The smallest says the phase: 2 in 1
share for r between `2s / (4 − 5s)` and its inverse, up to s = 4/7. Every cell of the grid is trained
ten times, all cells at once; the fit of lowest expected loss (an integral over every case of who fires,
no samples) stands for the cell. The extra feature counts as ignored where its column is shorter than
0.5, as in superposition where its interference is above 0.25. Cells from which a change of a tenth in
density or importance leads to another phase are left out. Seeds 1 and 2, run once after everything was
settled, agree in 242 of 242 cells each (2 in 1), and in 243 and 247 of 249 (3 in 2)."""
