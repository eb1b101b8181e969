"""Learning goes by jumps: features change place at the very moments at which the loss falls."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch

from monosemy.data.toys import TOGETHER, SparseFeatures, densities
from monosemy.foundation.errors import refuse
from monosemy.foundation.progress import SILENT, Progress
from monosemy.models.toy import TiedToy
from monosemy.recipes.laboratory.toys import RUNS, Found, ToySettings, train_toys
from monosemy.reports.laboratory import Picture
from monosemy.reports.toys import dynamics
from monosemy.superposition.claims import MEASURED, NULL, Finding
from monosemy.superposition.geometry import blocks, dimensionality, solids
from monosemy.superposition.jumps import Coincidence, coincidence
from monosemy.tensors.axes import Float, Tensor
from monosemy.tensors.compute import Compute
from monosemy.training.toys import LearnToys

TITLE = "Learning goes by jumps"
# Windows of time that count as jumps, and the chance below which
# a coincidence is believed.
JUMPS, CHANCE = 0.1, 0.05
# Overlaps below this are not counted as one block: after finite training they are not quite zero.
_OVERLAP = 0.2


@dataclass(frozen=True)
class DynamicsSettings:
    """Density, repetitions, and how the models learn: slowly, so that jumps stand apart."""

    density: float = 0.05
    """Of features in two sets of three that fire together, in three numbers."""
    fits: int = 20
    """Instances."""
    every: int = 25
    """Steps between two looks at the weights."""
    scale: float = 0.05
    """Of the first weights, by their usual size. From small ones features come in one after another."""
    begin: int = 250
    """Steps that are left out at first: random directions move most while they are still tiny."""
    training: ToySettings = field(default_factory=lambda: ToySettings(8000, 256, 1.5e-3))

    def __post_init__(self) -> None:
        reasons = []
        if self.fits < 2:
            reasons.append(f"fits = {self.fits}; wanted at least 2")
        left = self.training.steps - self.begin
        if not 1 <= self.every <= left // 22:
            reasons.append(
                f"every = {self.every} of {self.training.steps} steps without the first {self.begin}; "
                "wanted at least 22 looks: more steps, or more often"
            )
        if not 0 < self.scale < float("inf"):
            reasons.append(f"scale = {self.scale}; wanted more than 0")
        refuse(reasons, "these dynamics")


def run(
    settings: DynamicsSettings | None = None, compute: Compute | None = None, runs: Path = RUNS,
    progress: Progress = SILENT,
) -> Found:  # fmt: skip
    """Train, and look at dimensionalities and losses all the while."""
    settings, compute = settings or DynamicsSettings(), compute or Compute()
    rows = densities([settings.density], 6, settings.fits)
    law = SparseFeatures(rows, TOGETHER, 3)
    toy = TiedToy(len(rows), 6, 3, compute.generator("first weights of dynamics"))
    with torch.no_grad():
        toy.W.mul_(settings.scale)
    program = train_toys("dynamics", toy, law, torch.ones(1, 6), settings.training, compute, runs,
                         progress, settings.every)  # fmt: skip
    x = law.draw(8192, compute.generator("fixed samples of dynamics"))
    final = _losses(program, [toy.state_dict()], x)[0]
    values, loss = _traced(program, x, progress)
    order = final.argsort().tolist()
    best = order[0]
    first = settings.begin // settings.every
    found = [_coincidence(values[first:, i], loss[first:, i]) for i in range(settings.fits)]
    solid, across = _solid(toy.weights.detach()[best])
    octahedra = [_solid(toy.weights.detach()[i]) == ("octahedron", True) for i in order]
    findings = _findings(settings, found, best, solid, across, octahedra)
    data = {
        "n_fits": settings.fits, "every": settings.every, "begin": first, "best": best, "solid": solid,
        "across_sets": across, "octahedra": sum(octahedra),
        "steps": [i * settings.every for i in range(len(loss))],
        "loss": [round(float(v), 7) for v in loss[:, best]],
        "dimensionality": [[round(float(v), 4) for v in row] for row in values[:, best]],
        "coincidence": [{"share": f.share, "chance": f.chance, "windows": f.windows,
                         "n_windows": f.n_windows} for f in found],
    }  # fmt: skip
    picture = Picture("superposition-dynamics", CAPTION, dynamics(data), data)
    words = (
        f"The best of {settings.fits} models ends as: {solid}. While it learns, dimensionalities "
        "stay where they are for long and then move on; "
        f"{100 * found[best].share:.0f} % of the later fall of the loss comes in the tenth of all "
        f"windows in which they move most ({100 * float(np.median(found[best].shifted)):.0f} % "
        "where the two are shifted in time)."
    )
    return Found("dynamics", TITLE, data, findings, [picture], words, asdict(settings))


CAPTION = (
    "The best model while it learns: dimensionality of each feature above (colours are the two sets), "
    "loss below; shaded: the tenth of all windows in which dimensionalities moved most."
)


@torch.no_grad()
def _losses(
    program: LearnToys, states: list[dict[str, Tensor]], x: Float[Tensor, "instance sample feature"]
) -> Float[Tensor, "time instance"]:
    now = {name: value.clone() for name, value in program.module.state_dict().items()}
    found = []
    for state in states:
        program.module.load_state_dict(state)
        found.append(program.errors(x).mean(1))
    program.module.load_state_dict(now)
    return torch.stack(found)


def _traced(
    program: LearnToys, x: Float[Tensor, "instance sample feature"], progress: Progress
) -> tuple[Float[Tensor, "time instance feature"], Float[Tensor, "time instance"]]:
    parts = []
    with progress.task("look back", len(program.trace), "moments") as task:
        for state in program.trace:
            parts.append(_losses(program, [state], x))
            task.advance()
    return torch.stack([dimensionality(state["W"]) for state in program.trace]), torch.cat(parts)


def _coincidence(values: Float[Tensor, "time feature"], loss: Float[Tensor, "time"]) -> Coincidence:
    moved = values.diff(dim=0).abs().sum(1).double().numpy()
    fell = np.maximum(-loss.diff().double().numpy(), 0)
    return coincidence(moved, fell, JUMPS)


def _solid(weights: Float[Tensor, "hidden feature"]) -> tuple[str, bool]:
    """What the six features make, and whether every antipodal pair goes from one set to the other."""
    found = blocks(weights, _OVERLAP)
    pairs = [block.features for block in found if block.name == "antipodal pair"]
    return solids(found, 3), bool(pairs) and all((a < 3) != (b < 3) for a, b in pairs)


def _findings(
    settings: DynamicsSettings, found: list[Coincidence], best: int, solid: str, across: bool,
    octahedra: list[bool],
) -> list[Finding]:  # fmt: skip
    windows = (
        f"{found[best].n_windows} windows of {settings.every} steps from step {settings.begin} on"
    )
    sure = sum(one.chance < CHANCE for one in found)
    shifted = float(np.median(found[best].shifted))
    return [
        Finding("the best model ends as", solid, f"best of {settings.fits} models",
                "octahedron (TMS)", holds=solid == "octahedron"),
        Finding("its antipodes belong to different sets", "yes" if across else "no",
                "3 pairs" if solid == "octahedron" else "its antipodal pairs", "yes (TMS)",
                holds=across),
        Finding("octahedra with antipodes across sets, of every fit", sum(octahedra),
                f"{settings.fits} models", kind=MEASURED),
        Finding(f"best model: share of the fall of the loss in the {found[best].windows} windows of "
                "largest change of dimensionality", found[best].share, windows,
                f"more than shifted in time (p < {CHANCE})", holds=found[best].chance < CHANCE),
        Finding("models in which the fall coincides with the change (p < 0.05)", sure,
                f"{settings.fits} models", f"at least {round(0.9 * settings.fits)}",
                holds=sure >= 0.9 * settings.fits),
        Finding("the same share with the two shifted in time, median", shifted,
                f"{len(found[best].shifted)} shifts", f"below {2 * JUMPS}", NULL,
                shifted < 2 * JUMPS),
    ]  # fmt: skip
