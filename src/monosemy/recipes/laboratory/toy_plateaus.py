"""Dimensions come in shares: how feature dimensionality sticks to 1, 3/4, 2/3, 1/2, 2/5, 3/8."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from monosemy.data.toys import SparseFeatures, densities
from monosemy.foundation.errors import refuse
from monosemy.foundation.progress import SILENT, Progress
from monosemy.models.toy import TiedToy
from monosemy.recipes.laboratory.toys import RUNS, Found, ToySettings, best_of, losses, train_toys
from monosemy.reports.laboratory import Picture
from monosemy.reports.toys import plateaus
from monosemy.superposition.claims import NULL, PLANTED, Finding
from monosemy.superposition.geometry import (
    HALF_WIDTH,
    PLATEAUS,
    REPRESENTED,
    blocks,
    dimensionality,
    dimensions_per_feature,
    norms,
    plateau_shares,
)
from monosemy.tensors.axes import Float, Tensor
from monosemy.tensors.compute import Compute

TITLE = "Features share dimensions by regular figures"
# Fixed in advance: at how many densities of those in STICKY so large a share of the
# represented features lies on the plateau at 1/2, and how far the sum of dimensionalities may be off.
STICKY, AT_LEAST, DENSITIES = (2.5, 4.0), 0.9, 3
SUM_WITHIN = 0.02


@dataclass(frozen=True)
class PlateauSettings:
    """Sizes, densities, and how the models learn."""

    features: int = 60
    """n, all of importance 1."""
    hidden: int = 10
    """m."""
    ratios: tuple[float, ...] = (1, 1.3, 1.7, 2, 2.5, 3, 3.5, 4, 4.5, 5, 6, 7, 8.5, 10)
    """1 / density of each model."""
    fits: int = 3
    """Instances at each density; the one of lowest loss on fresh samples stands for it."""
    training: ToySettings = field(default_factory=lambda: ToySettings(8000, 256, 4e-3))

    def __post_init__(self) -> None:
        least = {"features": (2, self.features), "hidden": (1, self.hidden), "fits": (1, self.fits)}
        reasons = [f"{name} = {given}; wanted at least {low}"
                   for name, (low, given) in least.items() if given < low]  # fmt: skip
        if not self.ratios or min(self.ratios) < 1:
            reasons.append(f"ratios = {self.ratios}; wanted 1 / density, at least 1 each")
        refuse(reasons, "these plateaus")


def learn(
    settings: PlateauSettings, compute: Compute, runs: Path, progress: Progress
) -> tuple[Float[Tensor, "case hidden feature"], Float[Tensor, "case feature"]]:
    """Weights and biases of the best fit at each density."""
    rows = densities([1 / ratio for ratio in settings.ratios], settings.features, settings.fits)
    draw = compute.generator("first weights of plateaus")
    toy, law = TiedToy(len(rows), settings.features, settings.hidden, draw), SparseFeatures(rows)
    importance = torch.ones(1, settings.features)
    program = train_toys(
        "plateaus", toy, law, importance, settings.training, compute, runs, progress
    )
    loss = losses(program, law, compute, 32_768)
    best, chosen = best_of(toy.weights.detach(), loss, settings.fits)
    return best, toy.b.detach()[chosen]


def run(
    settings: PlateauSettings | None = None, compute: Compute | None = None, runs: Path = RUNS,
    progress: Progress = SILENT,
) -> Found:  # fmt: skip
    """Train at every density, and say where dimensionalities lie."""
    settings, compute = settings or PlateauSettings(), compute or Compute()
    weights, _ = learn(settings, compute, runs, progress)
    rows = [_row(ratio, one) for ratio, one in zip(settings.ratios, weights, strict=True)]
    null = torch.randn(weights.shape, generator=compute.generator("random columns"))
    null = null / norms(null)[:, None]
    findings = [*_findings(settings, rows, null), *_planted()]
    data = {
        "densities": rows,
        "half_width": HALF_WIDTH,
        "represented_above": REPRESENTED,
        "plateaus": PLATEAUS,
    }
    picture = Picture("superposition-plateaus", CAPTION, plateaus(rows), data)
    numbers = {"n_densities": len(rows), "features": settings.features, "hidden": settings.hidden,
               **data}  # fmt: skip
    return Found("plateaus", TITLE, numbers, findings, [picture], _words(rows), asdict(settings))


CAPTION = (
    "Above: dimensions per feature D* by sparsity; it sticks at 1/2. Below: dimensionality of every "
    "represented feature; lines are those of regular figures."
)


def _row(ratio: float, weights: Float[Tensor, "hidden feature"]) -> dict[str, Any]:
    values, lengths = dimensionality(weights), norms(weights)
    shares = plateau_shares(weights)[0]
    return {
        "ratio": ratio, "density": 1 / ratio,
        "dimensions_per_feature": float(dimensions_per_feature(weights)),
        "represented": int((lengths > REPRESENTED).sum()),
        "plateaus": shares, "sum_of_dimensionalities": float(values.sum()),
        "dimensionalities": [round(float(v), 5) for v in values[lengths > REPRESENTED].sort().values],
        "blocks": dict(Counter(block.name for block in blocks(weights))),
    }  # fmt: skip


def _findings(
    settings: PlateauSettings, rows: list[dict[str, Any]],
    null: Float[Tensor, "case hidden feature"],
) -> list[Finding]:  # fmt: skip
    sticky = [row for row in rows if STICKY[0] <= row["ratio"] <= STICKY[1]]
    models = (
        f"{len(rows)} models of {settings.features} features, best of {settings.fits} fits each"
    )
    off = max(abs(row["sum_of_dimensionalities"] - settings.hidden) for row in rows)
    found = [
        Finding("largest distance of the sum of dimensionalities from m", off, models,
                f"at most {SUM_WITHIN * settings.hidden:g} (tight frames)",
                holds=off <= SUM_WITHIN * settings.hidden),
    ]  # fmt: skip
    if sticky:
        stuck = sum(row["plateaus"]["antipodal pair"] >= AT_LEAST for row in sticky)
        low, high = STICKY
        found.insert(0, Finding(
            f"densities with {AT_LEAST:.0%} of represented features at 1/2".replace("%", " %"),
            stuck, f"{len(sticky)} densities, 1/(1-S) from {low:g} to {high:g}",
            f"at least {DENSITIES} (TMS)", holds=stuck >= DENSITIES,
        ))  # fmt: skip
    near = [max(share for name, share in row.items() if name != "none")
            for row in plateau_shares(null)]  # fmt: skip
    found.append(
        Finding("largest share of random unit columns at one plateau", max(near),
                f"{len(null)} draws of {settings.features} columns", f"below {AT_LEAST}", NULL,
                max(near) < AT_LEAST)
    )  # fmt: skip
    return found


def regular(features: int) -> Float[Tensor, "hidden feature"]:
    """So many unit vectors at equal angles in the plane: antipodal pair, triangle, pentagon..."""
    angle = torch.arange(features) * (2 * torch.pi / features)
    return torch.stack([angle.cos(), angle.sin()])


def _planted() -> list[Finding]:
    """Blocks put together by hand in one space, each to be found and named."""
    simplex = torch.eye(4) - 0.25
    axes = torch.linalg.svd(simplex).U[:, :3]
    tetrahedron = axes.T @ (simplex / simplex.norm(dim=0))
    parts = [
        torch.tensor([[1.0]]),
        torch.tensor([[1.0, -1.0]]),
        regular(3),
        regular(5),
        tetrahedron,
    ]
    names = ["own dimension", "antipodal pair", "triangle", "pentagon", "tetrahedron"]
    found = [block.name for block in blocks(torch.block_diag(*parts))]
    right = sum(one == other for one, other in zip(found, names, strict=False))
    return [Finding("regular figures put into one space and named", right, "5 figures", 5, PLANTED,
                    found == names)]  # fmt: skip


def _words(rows: list[dict[str, Any]]) -> str:
    stuck = [row for row in rows if row["plateaus"]["antipodal pair"] >= AT_LEAST]
    said = ", ".join(f"{row['ratio']:g}" for row in stuck) or "none"
    loose = [f"{row['ratio']:g}" for row in rows if row["plateaus"]["none"] >= AT_LEAST]
    return (
        "As features become sparser, more of them share the same dimensions, and they do so by "
        f"regular figures. At 1/(1-S) = {said} at least 90 % of the represented features are "
        "antipodal pairs. Every dimension is shared out: dimensionalities sum to m. "
        + (f"At 1/(1-S) = {', '.join(loose)} fewer than a tenth lies on a plateau: figures there are "
           "not regular." if loose else "")
    )  # fmt: skip
