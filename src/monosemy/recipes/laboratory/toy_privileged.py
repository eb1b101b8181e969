"""With a ReLU on the hidden layer, neurons mean one thing each, until sparsity makes them share."""

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
from monosemy.reports.toys import neurons
from monosemy.superposition.claims import MEASURED, NULL, PLANTED, Finding
from monosemy.superposition.geometry import REPRESENTED, norms
from monosemy.superposition.neurons import alive, features_per_neuron, monosemantic_share
from monosemy.tensors.axes import Float, Tensor
from monosemy.tensors.compute import Compute

TITLE = "Neurons go from one meaning to many"
# Shares of monosemantic neurons, features dense and sparse.
DENSE, SPARSE = 0.9, 0.1


@dataclass(frozen=True)
class PrivilegedSettings:
    """Sizes, importance, densities, and how the models learn."""

    features: int = 10
    """n."""
    hidden: int = 5
    """m, neurons."""
    decay: float = 0.75
    """Feature i has importance ``decay ** i``."""
    density: tuple[float, ...] = (0.7, 0.5, 0.3, 0.2, 0.1, 0.05, 0.02)
    """Of each model."""
    fits: int = 40
    """Instances at each density; the one of lowest loss stands for it."""
    training: ToySettings = field(default_factory=lambda: ToySettings(3000, 128, 1e-2))

    def __post_init__(self) -> None:
        least = {"features": (2, self.features), "hidden": (1, self.hidden), "fits": (1, self.fits)}
        reasons = [f"{name} = {given}; wanted at least {low}"
                   for name, (low, given) in least.items() if given < low]  # fmt: skip
        if not 0 < self.decay <= 1:
            reasons.append(f"decay = {self.decay}; wanted above 0 and at most 1")
        refuse(reasons, "this experiment")


def run(
    settings: PrivilegedSettings | None = None, compute: Compute | None = None, runs: Path = RUNS,
    progress: Progress = SILENT,
) -> Found:  # fmt: skip
    """Train with ReLU neurons, and without, which gives no axis a meaning of its own."""
    settings, compute = settings or PrivilegedSettings(), compute or Compute()
    rows = {}
    for middle in ("relu", "linear"):
        best = _learn(middle, settings, compute, runs, progress)
        rows[middle] = [_row(d, one) for d, one in zip(settings.density, best, strict=True)]
    data = {"features": settings.features, "hidden": settings.hidden, "n_fits": settings.fits,
            "models": rows}  # fmt: skip
    picture = Picture("superposition-privileged", CAPTION, neurons(rows["relu"]), data)
    shares = ", ".join(f"{row['monosemantic']:.0%} at {row['density']:g}".replace("%", " %")
                       for row in rows["relu"])  # fmt: skip
    words = (
        "A ReLU on the hidden layer makes its axes special, so features lie along neurons while they "
        f"are dense, and spread over them as they get sparse (monosemantic neurons: {shares}). Without "
        "the ReLU any rotation is as good and neurons mean nothing at any density."
    )
    return Found("privileged", TITLE, data, _findings(settings, rows), [picture], words,
                 asdict(settings))  # fmt: skip


CAPTION = (
    "Squared weights of each of the neurons, stacked by feature (most important at the bottom), by "
    "density."
)


def _learn(
    middle: str, settings: PrivilegedSettings, compute: Compute, runs: Path, progress: Progress
) -> Float[Tensor, "case hidden feature"]:
    rows = densities(settings.density, settings.features, settings.fits)
    draw = compute.generator("first weights of neurons")
    toy = TiedToy(len(rows), settings.features, settings.hidden, draw, middle=middle)
    law = SparseFeatures(rows)
    importance = settings.decay ** torch.arange(settings.features, dtype=torch.float32)[None]
    name = f"privileged-{middle}"
    program = train_toys(name, toy, law, importance, settings.training, compute, runs, progress)
    return best_of(toy.weights.detach(), losses(program, law, compute), settings.fits)[0]


def _row(density: float, weights: Float[Tensor, "hidden feature"]) -> dict[str, Any]:
    return {
        "density": density, "monosemantic": monosemantic_share(weights),
        "n_neurons": int(alive(weights).sum()),
        "represented": int((norms(weights) > REPRESENTED).sum()),
        "features_per_neuron": [round(float(v), 3) for v in features_per_neuron(weights)],
        "weights": [[round(float(v), 4) for v in row] for row in weights],
    }  # fmt: skip


def _findings(settings: PrivilegedSettings, rows: dict[str, list[dict[str, Any]]]) -> list[Finding]:
    dense, sparse = rows["relu"][0], rows["relu"][-1]
    least = min(row["monosemantic"] for row in rows["relu"])
    mixed = max(row["monosemantic"] for row in rows["linear"])
    falls = [row["monosemantic"] for row in rows["relu"]]
    steps = sum(one >= other for one, other in zip(falls, falls[1:], strict=False))
    n = f"{settings.hidden} neurons, best of {settings.fits} fits"
    planted = torch.cat([torch.eye(5), torch.ones(5, 5)])
    return [
        Finding(f"monosemantic neurons, density {dense['density']:g}", dense["monosemantic"], n,
                f"at least {DENSE} (TMS)", holds=dense["monosemantic"] >= DENSE),
        Finding(f"monosemantic neurons, density {sparse['density']:g}", sparse["monosemantic"], n,
                f"at most {SPARSE} (TMS)", holds=sparse["monosemantic"] <= SPARSE),
        Finding("steps to a sparser model in which the share does not rise", steps,
                f"{len(falls) - 1} steps", f"{len(falls) - 1} (TMS)", holds=steps == len(falls) - 1),
        Finding("features represented by the sparsest model, by neurons",
                sparse["represented"] / settings.hidden, n, "more than 1 (TMS)",
                holds=sparse["represented"] > settings.hidden),
        Finding("without the ReLU: largest share of monosemantic neurons", mixed,
                f"{len(rows['linear'])} models of {n}", f"below {DENSE}", NULL, mixed < DENSE),
        Finding("share in 5 neurons of one feature and 5 of five alike", monosemantic_share(planted),
                "10 neurons", 0.5, PLANTED, monosemantic_share(planted) == 0.5),
        Finding("smallest share of monosemantic neurons at any density", least, kind=MEASURED,
                n=f"{len(falls)} densities"),
    ]  # fmt: skip
