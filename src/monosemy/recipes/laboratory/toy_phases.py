"""The phase diagram of superposition, trained and in closed form: 2 features in 1 number, 3 in 2."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from monosemy.data.toys import EveryCase, SparseFeatures, densities
from monosemy.foundation.errors import refuse
from monosemy.foundation.progress import SILENT, Progress
from monosemy.models.toy import TiedToy
from monosemy.recipes.laboratory.toys import RUNS, Found, ToySettings, best_of, train_toys
from monosemy.reports.laboratory import Picture
from monosemy.reports.toys import phase_diagrams
from monosemy.superposition import phases
from monosemy.superposition.claims import NULL, PLANTED, Finding
from monosemy.tensors.axes import Float, Tensor
from monosemy.tensors.compute import Compute
from monosemy.training.toys import LearnToys

TITLE = "Superposition is a phase, with a boundary in closed form"
TOLERANCE = 0.95
"""Share of cells away from the band that must agree."""
BAND = 0.1
"""Half-width of what is left out around a boundary, as a share of density and of importance."""


@dataclass(frozen=True)
class PhaseSettings:
    """The grid, and how each cell learns."""

    cells: int = 16
    """Densities from 1 to 0.01, and as many importances from 0.1 to 10, in equal ratios."""
    fits: int = 10
    """Instances in a cell; the one of lowest expected loss stands for it."""
    training: ToySettings = field(default_factory=lambda: ToySettings(1000, 64, 1.5e-2))

    def __post_init__(self) -> None:
        least = {"cells": (2, self.cells), "fits": (1, self.fits)}
        refuse(
            [f"{name} = {given}; wanted at least {low}" for name, (low, given) in least.items()
             if given < low],
            "this phase diagram",
        )  # fmt: skip


def run(
    settings: PhaseSettings | None = None, compute: Compute | None = None, runs: Path = RUNS,
    progress: Progress = SILENT,
) -> Found:  # fmt: skip
    """Train both diagrams and compare them with the closed form."""
    settings, compute = settings or PhaseSettings(), compute or Compute()
    density, importance = grid(settings.cells)
    diagrams, findings = [], []
    for features in (2, 3):
        weights, first = learn(features, settings, compute, runs, progress)
        learned = phases.learned_phase(weights.double().numpy())
        found = phases.agreement(learned, density, importance, features, BAND)
        flat = phases.learned_phase(first.double().numpy())
        chance = phases.agreement(flat, density, importance, features, BAND)
        diagrams.append(_diagram(features, density, importance, learned, found))
        findings += _findings(features, found, chance, settings.fits)
    findings += _planted()
    picture = Picture("phases-diagram", CAPTION, phase_diagrams(diagrams), diagrams)
    shares = {f"{one['features']} in {one['hidden']}": {"share": one["agreement"], "n": one["n_cells"]}
              for one in diagrams}  # fmt: skip
    numbers = {"agreement": shares, "band": BAND, "diagrams": diagrams}
    return Found("phases", TITLE, numbers, findings, [picture], _words(diagrams), asdict(settings))


CAPTION = (
    "What becomes of the extra feature: learned (left) and in closed form (right), 2 features in 1 "
    "number above, 3 in 2 below. Crosses: cells that disagree; lines: the boundaries in closed form."
)


def grid(cells: int) -> tuple[phases.Grid, phases.Grid]:
    """Density and importance of every cell, densities down and importances across."""
    density = np.geomspace(1, 0.01, cells)
    importance = np.geomspace(0.1, 10, cells)
    made = np.meshgrid(density, importance, indexing="ij")
    return made[0], made[1]


def learn(
    features: int, settings: PhaseSettings, compute: Compute, runs: Path, progress: Progress
) -> tuple[Float[Tensor, "row cell hidden feature"], Float[Tensor, "row cell hidden feature"]]:
    """The best fit of every cell, and for a null the first weights that were drawn for it."""
    toy, law, weight = setting(features, settings, compute)
    first = toy.weights.detach().clone()
    name = f"phases-{features}"
    program = train_toys(name, toy, law, weight, settings.training, compute, runs, progress)
    expected = expected_loss(program, law.density[:, 0])
    best, _ = best_of(toy.weights.detach(), expected, settings.fits)
    shape = (settings.cells, settings.cells, features - 1, features)
    return best.view(shape), first[:: settings.fits].reshape(shape)


def setting(
    features: int, settings: PhaseSettings, compute: Compute
) -> tuple[TiedToy, SparseFeatures, Float[Tensor, "instance feature"]]:
    """The instances of all cells, what they are given, and how important each feature is."""
    density, importance = grid(settings.cells)
    rows = densities(density.ravel().tolist(), features, settings.fits)
    weight = torch.ones_like(rows)
    extra = torch.tensor(importance.ravel(), dtype=torch.float32)
    weight[:, -1] = extra.repeat_interleave(settings.fits)
    draw = compute.generator(f"first weights, {features} features")
    return TiedToy(len(rows), features, features - 1, draw), SparseFeatures(rows), weight


@torch.no_grad()
def expected_loss(
    program: LearnToys, density: Float[Tensor, "instance"]
) -> Float[Tensor, "instance"]:
    """Each instance's loss without the noise of samples, by `EveryCase`."""
    cases = EveryCase.of(program.importance.shape[-1])
    weights = cases.weights(density)
    total = torch.zeros(len(density))
    for part in torch.arange(len(cases.x)).split(256):
        points = cases.x[part].expand(len(density), -1, -1)
        total += (program.errors(points) * weights[:, part]).sum(1)
    return total


def _diagram(
    features: int, density: phases.Grid, importance: phases.Grid, learned: phases.Labels,
    found: phases.Agreement,
) -> dict[str, Any]:  # fmt: skip
    return {
        "features": features, "hidden": features - 1,
        "agreement": found.share, "n_cells": found.away, "agree": found.agree,
        "all_cells": found.cells,
        "density": density[:, 0].tolist(), "importance": importance[0].tolist(),
        "learned": learned.tolist(),
        "closed_form": phases.phase(density, importance, features).tolist(),
        "near_boundary": phases.near_boundary(density, importance, features, BAND).tolist(),
        "phases": list(phases.PHASES),
    }  # fmt: skip


def _findings(
    features: int, found: phases.Agreement, chance: phases.Agreement, fits: int
) -> list[Finding]:
    what = f"{features} features in {features - 1}: cells that show the phase of the closed form"
    n = f"{found.away} of {found.cells} cells away from the boundary, {fits} fits each"
    return [
        Finding(what, found.share, n, f"at least {TOLERANCE} (TMS)", holds=found.share >= TOLERANCE),
        Finding(f"{what}, before training", chance.share, n, f"below {TOLERANCE}", NULL,
                chance.share < TOLERANCE),
    ]  # fmt: skip


def _planted() -> list[Finding]:
    """Weights that are each phase by construction."""
    made = np.array([[[1.0, 0.0]], [[1.0, -1.0]], [[0.0, 1.0]]])
    right = phases.learned_phase(made) == np.arange(3)
    return [Finding("phases of weights made to show each", float(right.mean()), "3 models", 1,
                    PLANTED, bool(right.all()))]  # fmt: skip


def _words(diagrams: list[dict[str, Any]]) -> str:
    said = " and ".join(
        f"{one['agree']} of {one['n_cells']} cells ({one['features']} in {one['hidden']})"
        for one in diagrams
    )
    return (
        f"Away from the boundary the trained models agree with the closed form in {said}. Sparse "
        "features share a dimension as an antipodal pair; dense ones do not, and the less important "
        "is ignored. The closed form holds ideal codes without a bias only, so near the boundary "
        "trained models may do better by a compromise: those cells lie in the band, or are crossed."
    )
