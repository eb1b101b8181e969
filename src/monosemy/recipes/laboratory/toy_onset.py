"""Where superposition begins: the linear model keeps the top m, ReLU adds the least important first."""

from __future__ import annotations

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
from monosemy.reports.toys import onset
from monosemy.superposition.claims import NULL, Finding
from monosemy.superposition.geometry import blocks, gram, interference, norms
from monosemy.tensors.axes import Float, Tensor
from monosemy.tensors.compute import Compute

TITLE = "Superposition begins with sparsity"
# A feature is kept from this squared length on, in superposition
# from this interference on, and the ReLU model at density 1 may differ from the linear one by so much.
KEPT, SWAMPED, SAME = 0.25, 0.25, 0.05


@dataclass(frozen=True)
class OnsetSettings:
    """Sizes, importance, densities, and how the models learn."""

    features: int = 20
    """n."""
    hidden: int = 5
    """m."""
    decay: float = 0.7
    """Feature i has importance ``decay ** i``."""
    density: tuple[float, ...] = (1.0, 0.8, 0.6, 0.4, 0.3, 0.2, 0.1, 0.05)
    """Of each model."""
    fits: int = 3
    """Instances at each density; the one of lowest loss stands for it."""
    training: ToySettings = field(default_factory=lambda: ToySettings(4000, 256, 4e-3))

    def __post_init__(self) -> None:
        reasons = []
        if not 1 <= self.hidden < self.features:
            reasons.append(f"hidden = {self.hidden} for {self.features} features; wanted fewer, and at "
                           "least 1")  # fmt: skip
        if not 0 < self.decay < 1:
            reasons.append(
                f"decay = {self.decay}; wanted between 0 and 1, for an order of importance"
            )
        refuse(reasons, "this onset")


def run(
    settings: OnsetSettings | None = None, compute: Compute | None = None, runs: Path = RUNS,
    progress: Progress = SILENT,
) -> Found:  # fmt: skip
    """Train the linear and the ReLU model at every density."""
    settings, compute = settings or OnsetSettings(), compute or Compute()
    learned = {output: _learn(output, settings, compute, runs, progress)
               for output in ("linear", "relu")}  # fmt: skip
    rows = {name: [_row(d, one) for d, one in zip(settings.density, weights, strict=True)]
            for name, weights in learned.items()}  # fmt: skip
    findings = _findings(settings, rows, learned)
    data = {"features": settings.features, "hidden": settings.hidden, "fits": settings.fits,
            "models": rows}  # fmt: skip
    picture = Picture("superposition-onset", CAPTION, onset(rows), data)
    kept = [(row["density"], len(row["kept"])) for row in rows["relu"]]
    words = (
        f"The linear model keeps the {settings.hidden} most important features whatever the density. "
        "The ReLU model does the same while features are dense; then it keeps "
        + ", ".join(f"{count} at {d:g}" for d, count in kept)
        + " (features at density). The most important stay alone longest."
    )
    return Found("onset", TITLE, data, findings, [picture], words, asdict(settings))


CAPTION = (
    "Squared length of each feature's column (most important at the left of each panel), by density; "
    "orange shares its dimensions. Below: WᵀW of the ReLU model."
)


def _learn(
    output: str, settings: OnsetSettings, compute: Compute, runs: Path, progress: Progress
) -> Float[Tensor, "case hidden feature"]:
    rows = densities(settings.density, settings.features, settings.fits)
    draw = compute.generator("first weights of the onset")
    toy = TiedToy(len(rows), settings.features, settings.hidden, draw, output)
    law = SparseFeatures(rows)
    importance = settings.decay ** torch.arange(settings.features, dtype=torch.float32)[None]
    name = f"onset-{output}"
    program = train_toys(name, toy, law, importance, settings.training, compute, runs, progress)
    return best_of(toy.weights.detach(), losses(program, law, compute), settings.fits)[0]


def _row(density: float, weights: Float[Tensor, "hidden feature"]) -> dict[str, Any]:
    squares, shared = norms(weights).square(), interference(weights)
    kept = (squares > KEPT).nonzero()[:, 0].tolist()
    return {
        "density": density, "squared_lengths": _rounded(squares), "interference": _rounded(shared),
        "kept": kept, "in_superposition": [i for i in kept if shared[i] > SWAMPED],
        "blocks": [[list(block.features), block.name] for block in blocks(weights)],
        "gram": [_rounded(row) for row in gram(weights)],
    }  # fmt: skip


def _rounded(values: Tensor) -> list[float]:
    return [round(float(value), 4) for value in values]


def _findings(
    settings: OnsetSettings, rows: dict[str, list[dict[str, Any]]],
    learned: dict[str, Float[Tensor, "case hidden feature"]],
) -> list[Finding]:  # fmt: skip
    top = list(range(settings.hidden))
    n = f"{len(rows['linear'])} densities, best of {settings.fits} fits each"
    linear = sum(row["kept"] == top and not row["in_superposition"] for row in rows["linear"])
    far = float((gram(learned["linear"][0]) - gram(learned["relu"][0])).abs().max())
    found = [
        Finding(f"densities at which the linear model keeps exactly the top {settings.hidden}, "
                "each alone", linear, n, f"{len(rows['linear'])} (TMS)", NULL,
                linear == len(rows["linear"])),
        Finding("most kept by the ReLU model, by m", max(len(r["kept"]) for r in rows["relu"])
                / settings.hidden, n, "more than 1 (TMS)",
                holds=max(len(r["kept"]) for r in rows["relu"]) > settings.hidden),
    ]  # fmt: skip
    if settings.density[0] == 1:
        found.insert(1, Finding(
            "density 1: largest difference of WᵀW between the ReLU and the linear model", far,
            f"{settings.features**2} products", f"at most {SAME} (TMS)",
            holds=far <= SAME))  # fmt: skip
    first = next((row for row in rows["relu"] if row["in_superposition"]), None)
    if first is None:
        return [*found, Finding("density at which superposition begins", "none", n,
                                "some (TMS)", holds=False)]  # fmt: skip
    alone = [i for i in first["kept"] if i not in first["in_superposition"]]
    least = not alone or max(alone) < min(first["in_superposition"])
    sharing = [b for b in first["blocks"] if set(b[0]) & set(first["in_superposition"])]
    pairs = sum(name == "antipodal pair" for _, name in sharing)
    return [
        *found,
        Finding(f"at the onset (density {first['density']:g}): features in superposition",
                ", ".join(map(str, first["in_superposition"])),
                f"{len(first['kept'])} features kept", "the least important of those kept (TMS)",
                holds=least and bool(alone)),
        Finding("at the onset: blocks that are antipodal pairs", pairs, f"{len(sharing)} blocks",
                "all (TMS)", holds=pairs == len(sharing)),
    ]  # fmt: skip
