"""Computing in superposition: absolute values of more features than half the neurons allow."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from monosemy.data.toys import SparseFeatures, densities
from monosemy.foundation.errors import refuse
from monosemy.foundation.progress import SILENT, Progress
from monosemy.models.toy import AbsoluteToy
from monosemy.recipes.laboratory.toys import RUNS, Found, ToySettings, losses, train_toys
from monosemy.reports.laboratory import Picture
from monosemy.reports.toys import computation
from monosemy.superposition.claims import MEASURED, NULL, PLANTED, Finding
from monosemy.superposition.neurons import alive, asymmetric, monosemantic_share, purity
from monosemy.tensors.axes import Float, Tensor
from monosemy.tensors.compute import Compute

TITLE = "Models compute in superposition, not only store"
# Share of monosemantic neurons at the densest and the sparsest
# setting, and share of the variance of |x| from which on it counts as computed in part.
DENSE, SPARSE, IN_PART = 0.9, 0.1, 0.25


@dataclass(frozen=True)
class ComputationSettings:
    """Sizes, importance, densities, and how the models learn."""

    fits: int = 20
    """Instances of the small model, 3 features and 6 neurons."""
    features: int = 100
    """n of the large model."""
    hidden: int = 40
    """Its neurons."""
    decay: float = 0.8
    """Feature i has importance ``decay ** i``."""
    density: tuple[float, ...] = (1.0, 0.3, 0.1, 0.03, 0.01)
    """Of each large model."""
    small: ToySettings = field(default_factory=lambda: ToySettings(2000, 256, 1e-2))
    training: ToySettings = field(default_factory=lambda: ToySettings(4000, 512, 5e-3))

    def __post_init__(self) -> None:
        least = {"fits": (1, self.fits), "features": (2, self.features), "hidden": (1, self.hidden)}
        reasons = [f"{name} = {given}; wanted at least {low}"
                   for name, (low, given) in least.items() if given < low]  # fmt: skip
        if not 0 < self.decay <= 1:
            reasons.append(f"decay = {self.decay}; wanted above 0 and at most 1")
        refuse(reasons, "this experiment")


def run(
    settings: ComputationSettings | None = None, compute: Compute | None = None, runs: Path = RUNS,
    progress: Progress = SILENT,
) -> Found:  # fmt: skip
    """Train the small and the large model to give |x|."""
    settings, compute = settings or ComputationSettings(), compute or Compute()
    small = _small(settings, compute, runs, progress)
    rows = _large(settings, compute, runs, progress)
    data = {"small": small, "features": settings.features, "hidden": settings.hidden, "large": rows}
    picture = Picture("superposition-computation", CAPTION, computation(small, rows), data)
    most = max(rows, key=lambda row: row["computed_in_part"])
    motif = max(rows, key=lambda row: row["asymmetric"])
    rule = (
        "more often than with what neurons write shuffled among them"
        if motif["asymmetric"] > motif["asymmetric_shuffled"]
        else "but no more often than with what neurons write shuffled among them, so its count alone "
        "proves nothing"
    )
    seen = (
        "The asymmetric motif of the paper (one feature read strongly and written weakly, another the "
        f"other way round) is there in {motif['asymmetric']} of {settings.hidden} neurons at density "
        f"{motif['density']:g} and in {rows[0]['asymmetric']} at density {rows[0]['density']:g}, "
        f"{rule}."
    )
    words = (
        "With neurons enough, each feature takes two: ReLU(x) and ReLU(-x). With too few and sparse "
        f"features, neurons serve several at once: at density {most['density']:g}, "
        f"{most['computed_in_part']} features are computed at least in part by {settings.hidden} "
        f"neurons, which by twos would be enough for {settings.hidden // 2}. Many of these are "
        f"computed on one side only, so the gain is smaller than the count. {seen}"
    )
    return Found("computation", TITLE, data, _findings(settings, small, rows), [picture], words,
                 asdict(settings))  # fmt: skip


CAPTION = (
    "Left: weights of the best small model, read above and written below. Right: weights of each "
    "neuron of the large model (read times written, as a share), stacked by feature, from dense to "
    "sparse."
)


def _small(
    settings: ComputationSettings, compute: Compute, runs: Path, progress: Progress
) -> dict[str, Any]:
    law = SparseFeatures(densities([0.5], 3, settings.fits), signed=True)
    toy = AbsoluteToy(settings.fits, 3, 6, compute.generator("first weights of absolute values"))
    program = train_toys("absolute-3", toy, law, torch.ones(1, 3), settings.small, compute, runs,
                         progress)  # fmt: skip
    loss = losses(program, law, compute)
    best = int(loss.argmin())
    read = toy.W_in.detach()
    return {
        "n_fits": settings.fits, "loss": float(loss[best]), "pairs": paired(read[best]),
        "pairs_of_every_fit": [paired(one) for one in read],
        "read": read[best].tolist(), "write": toy.W_out.detach()[best].tolist(),
    }  # fmt: skip


def paired(read: Float[Tensor, "hidden feature"]) -> int:
    """Features with exactly two neurons of their own, which read them with opposite signs."""
    own = (purity(read) > DENSE) & alive(read)
    feature, found = read.abs().argmax(1), 0
    for i in range(read.shape[1]):
        signs = read[own & (feature == i), i].sign().tolist()
        found += sorted(signs) == [-1.0, 1.0]
    return found


def _large(
    settings: ComputationSettings, compute: Compute, runs: Path, progress: Progress
) -> list[dict[str, Any]]:
    law = SparseFeatures(densities(settings.density, settings.features), signed=True)
    toy = AbsoluteToy(len(settings.density), settings.features, settings.hidden,
                      compute.generator("first weights of many absolute values"))  # fmt: skip
    importance = settings.decay ** torch.arange(settings.features, dtype=torch.float32)[None]
    program = train_toys("absolute-100", toy, law, importance, settings.training, compute, runs,
                         progress)  # fmt: skip
    x = law.draw(8192, compute.generator("fresh samples of absolute values"))
    with torch.no_grad():
        left = (program.module(x) - x.abs()).square().mean(1) / x.abs().var(1)
    rows = []
    draw = compute.generator("neurons that write what others read")
    for density, read, write, one in zip(
        settings.density, toy.W_in.detach(), toy.W_out.detach(), left, strict=True
    ):
        share = (read * write).abs()
        shuffled = write[torch.randperm(len(write), generator=draw)]
        rows.append({
            "density": density, "n_neurons": int(alive(read).sum()),
            "monosemantic": monosemantic_share(read),
            "computed_in_part": int((one < 1 - IN_PART).sum()),
            "computed": int((one < IN_PART).sum()),
            "asymmetric": int(asymmetric(read, write).sum()),
            "asymmetric_shuffled": int(asymmetric(read, shuffled).sum()),
            "shares": [[round(float(v), 4) for v in row]
                       for row in share / share.sum(1, keepdim=True).clamp(min=1e-12)],
        })  # fmt: skip
    return rows


def _findings(
    settings: ComputationSettings, small: dict[str, Any], rows: list[dict[str, Any]]
) -> list[Finding]:
    dense, sparse = rows[0], rows[-1]
    best = max(row["computed_in_part"] for row in rows)
    neurons = f"{settings.hidden} neurons, 1 model"
    motif = max(rows, key=lambda row: row["asymmetric"])
    made = torch.tensor([[2.0, -0.5], [1.0, 0.0]]), torch.tensor([[0.5, 2.0], [1.0, 0.0]])
    return [
        Finding("3 features, 6 neurons: features with a pair ReLU(x), ReLU(-x)", small["pairs"],
                f"3 features, best of {settings.fits} fits", "3 (TMS)", holds=small["pairs"] == 3),
        Finding("the same, of every fit: all three paired",
                sum(p == 3 for p in small["pairs_of_every_fit"]), f"{settings.fits} models",
                kind=MEASURED),
        Finding(f"monosemantic neurons, density {dense['density']:g}", dense["monosemantic"],
                neurons, f"at least {DENSE} (TMS)", holds=dense["monosemantic"] >= DENSE),
        Finding(f"monosemantic neurons, density {sparse['density']:g}", sparse["monosemantic"],
                neurons, f"at most {SPARSE} (TMS)", holds=sparse["monosemantic"] <= SPARSE),
        Finding("most features computed at least in part", best,
                f"{len(rows)} models of {settings.hidden} neurons",
                f"more than {settings.hidden // 2}, half the neurons (TMS)",
                holds=best > settings.hidden // 2),
        Finding("features computed in part at density 1", dense["computed_in_part"], neurons,
                f"at most {settings.hidden // 2}", NULL,
                dense["computed_in_part"] <= settings.hidden // 2),
        Finding(f"neurons of the asymmetric motif, density {motif['density']:g}", motif["asymmetric"],
                neurons, f"more than {motif['asymmetric_shuffled']}, with what they write shuffled "
                "among neurons (TMS: the motif is there)",
                holds=motif["asymmetric"] > motif["asymmetric_shuffled"]),
        Finding("neurons of the motif found, of one made so and one that is not",
                int(asymmetric(*made).sum()), "2 neurons", 1, PLANTED,
                asymmetric(*made).tolist() == [True, False]),
    ]  # fmt: skip
