"""Five features in a plane: a pentagon, and what one feature of another density does to it."""

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
from monosemy.recipes.laboratory.toys import RUNS, Found, ToySettings, losses, train_toys
from monosemy.reports.laboratory import Picture
from monosemy.reports.toys import pentagons
from monosemy.superposition.claims import MEASURED, NULL, Finding
from monosemy.superposition.geometry import blocks, dimensionality, norms
from monosemy.tensors.axes import Float, Tensor
from monosemy.tensors.compute import Compute

TITLE = "Five features in a plane make a pentagon, until one is rare enough"
# How far squared lengths may be from 1 - b, which makes up for the
# bias where a feature fires alone, and the least fall of dimensionality that is a jump.
LENGTH_WITHIN, JUMP = 0.05, 0.2


@dataclass(frozen=True)
class GeometrySettings:
    """Densities, repetitions, and how the models learn."""

    density: float = 0.05
    """Of four of the five features."""
    factors: tuple[float, ...] = (4, 2, 1, 0.7, 0.5, 0.35, 0.25, 0.125)
    """By which the density of the fifth is larger or smaller."""
    fits: int = 8
    """Instances for each; the one of lowest loss stands for them."""
    training: ToySettings = field(default_factory=lambda: ToySettings(3000, 256, 1e-2))

    def __post_init__(self) -> None:
        reasons = []
        if self.fits < 1:
            reasons.append(f"fits = {self.fits}; wanted at least 1")
        if 1 not in self.factors:
            reasons.append(f"factors = {self.factors}; wanted 1 among them: five features alike")
        if self.density * max(self.factors, default=1) > 1:
            reasons.append(f"density = {self.density} times {max(self.factors)} is above 1")
        refuse(reasons, "this experiment")


def run(
    settings: GeometrySettings | None = None, compute: Compute | None = None, runs: Path = RUNS,
    progress: Progress = SILENT,
) -> Found:  # fmt: skip
    """Train five features in two numbers, one of them rarer or more frequent."""
    settings, compute = settings or GeometrySettings(), compute or Compute()
    fits = settings.fits
    rates = densities([settings.density] * len(settings.factors), 5, fits)
    rates[:, 0] *= torch.tensor(settings.factors).repeat_interleave(fits)
    law = SparseFeatures(rates)
    toy = TiedToy(len(rates), 5, 2, compute.generator("first weights of pentagons"))
    program = train_toys(
        "geometry", toy, law, torch.ones(1, 5), settings.training, compute, runs, progress
    )
    loss = losses(program, law, compute, 32_768).view(-1, fits)
    weights = toy.weights.detach().view(-1, fits, 2, 5)
    bias = toy.b.detach().view(-1, fits, 5)
    rows = [
        _row(factor, of, one, b)
        for factor, of, one, b in zip(settings.factors, loss, weights, bias, strict=True)
    ]
    data = {"n_fits": fits, "density": settings.density, "models": rows}
    picture = Picture("superposition-geometry", CAPTION, pentagons(rows), data)
    names = ", ".join(f"{' and '.join(row['blocks'])} at {row['factor']:g}" for row in rows)
    findings = _findings(settings, rows)
    off = next(finding.ours for finding in findings if "1 - b" in finding.what)
    words = (
        f"Best fits, by the density of one feature over that of the others: {names}. Squared lengths "
        f"of five alike differ from 1 - b by up to {off:.3g}: about the lengths at which a feature "
        "that fires alone is given back in full, and not quite, since longer columns interfere more."
    )
    return Found("geometry", TITLE, data, findings, [picture], words,
                 asdict(settings))  # fmt: skip


CAPTION = (
    "Columns of W of the best fit: five features in two numbers. The orange feature fires as many "
    "times as often as the others as the title of its panel says."
)


def _row(
    factor: float, loss: Float[Tensor, "instance"],
    weights: Float[Tensor, "instance hidden feature"], bias: Float[Tensor, "instance feature"],
) -> dict[str, Any]:  # fmt: skip
    best = int(loss.argmin())
    one = weights[best]
    kinds = Counter(" and ".join(block.name for block in blocks(fit)) for fit in weights)
    return {
        "factor": factor, "blocks": [block.name for block in blocks(one)],
        "blocks_of_every_fit": dict(kinds), "weights": one.tolist(),
        "dimensionality": [round(float(v), 4) for v in dimensionality(one)],
        "squared_lengths": [round(float(v), 4) for v in norms(one).square()],
        "bias": [round(float(v), 4) for v in bias[best]],
    }  # fmt: skip


def _findings(settings: GeometrySettings, rows: list[dict[str, Any]]) -> list[Finding]:
    n = f"best of {settings.fits} fits"
    alike = next(row for row in rows if row["factor"] == 1)
    rare = min(rows, key=lambda row: row["factor"])
    lengths = zip(alike["squared_lengths"], alike["bias"], strict=True)
    off = max(abs(square - (1 - bias)) for square, bias in lengths)
    by_factor = sorted(rows, key=lambda row: -row["factor"])
    values = [row["dimensionality"][0] for row in by_factor]
    falls = [one - other for one, other in zip(values, values[1:], strict=False)]
    jump = max(falls)
    return [
        Finding("five features alike make", " and ".join(alike["blocks"]), n, "pentagon (TMS)",
                holds=alike["blocks"] == ["pentagon"]),
        Finding("the same, of every fit: pentagons", alike["blocks_of_every_fit"].get("pentagon", 0),
                f"{settings.fits} fits", kind=MEASURED),
        Finding("their squared lengths: largest distance from 1 - b", off, "5 features",
                f"at most {LENGTH_WITHIN}", holds=off <= LENGTH_WITHIN),
        Finding(f"with one feature at {rare['factor']:g} of the density the others make",
                " and ".join(rare["blocks"]), n, "two antipodal pairs (TMS)",
                holds=rare["blocks"] == ["antipodal pair"] * 2),
        Finding("largest fall of its dimensionality from one density to the next", jump,
                f"{len(falls)} steps, {n}", f"more than {JUMP}: a jump (TMS)", holds=jump > JUMP),
        Finding("the other steps: largest fall", max(f for f in falls if f != jump),
                f"{len(falls) - 1} steps", f"at most {JUMP}", NULL,
                max(f for f in falls if f != jump) <= JUMP),
    ]  # fmt: skip
