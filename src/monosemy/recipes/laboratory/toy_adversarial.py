"""Superposition makes small changes of the input cost more: vulnerability beside 1 / D*."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from monosemy.data.toys import SparseFeatures, densities
from monosemy.foundation.progress import SILENT, Progress
from monosemy.recipes.laboratory.toy_plateaus import PlateauSettings, learn
from monosemy.recipes.laboratory.toys import RUNS, Found
from monosemy.reports.laboratory import Picture
from monosemy.reports.toys import vulnerabilities
from monosemy.superposition.claims import NULL, PLANTED, Finding
from monosemy.superposition.geometry import dimensions_per_feature
from monosemy.superposition.vulnerability import attacks, vulnerability
from monosemy.tensors.axes import Float, Tensor
from monosemy.tensors.compute import Compute

TITLE = "Superposition makes models vulnerable"
# Fixed in advance.
RISES, TRACKS = 3.0, 0.95
BUDGET = 0.1
_SAMPLES = 1024


def run(
    settings: PlateauSettings | None = None, compute: Compute | None = None, runs: Path = RUNS,
    progress: Progress = SILENT,
) -> Found:  # fmt: skip
    """Attack the models of the plateaus (trained here where they are not yet)."""
    settings, compute = settings or PlateauSettings(), compute or Compute()
    weights, biases = learn(settings, compute, runs, progress)
    law = SparseFeatures(densities([1 / ratio for ratio in settings.ratios], settings.features))
    x = law.draw(_SAMPLES, compute.generator("inputs that are attacked"))
    shared = dimensions_per_feature(weights)
    aimed, blind, plain = [], [], []
    ideal = torch.eye(settings.hidden, settings.features)
    draw = compute.generator("random attacks")
    with progress.task("attack", len(x), "models") as task:
        for one, bias, given in zip(weights, biases, x, strict=True):
            aimed.append(vulnerability(one, bias, given, attacks(one), BUDGET))
            blind.append(vulnerability(one, bias, given, _random(settings.features, draw), BUDGET))
            nothing = torch.zeros(settings.features)
            plain.append(vulnerability(ideal, nothing, given, attacks(ideal), BUDGET))
            task.advance()
    rows = [
        {"ratio": ratio, "dimensions_per_feature": float(d), "vulnerability": v, "random_attack": b,
         "without_superposition": p, "relative": v / aimed[0]}
        for ratio, d, v, b, p in zip(settings.ratios, shared, aimed, blind, plain, strict=True)
    ]  # fmt: skip
    tracks = float(np.corrcoef([1 / float(d) for d in shared], aimed)[0, 1])
    rise = max(aimed) / aimed[0]
    findings = _findings(settings, rows, rise, tracks)
    data = {"densities": rows, "budget": BUDGET, "n_inputs": _SAMPLES, "correlation": tracks}
    picture = Picture("superposition-adversarial", CAPTION, vulnerabilities(rows), data)
    words = (
        f"From dense to sparse the cost of the best small step rises {rise:.1f} times, and its "
        f"correlation with 1/D* is {tracks:.3f}: what makes room for more features also makes each "
        "output depend on more inputs. As many random steps of the same length cost far less."
    )
    return Found("adversarial", TITLE, data, findings, [picture], words, asdict(settings))


CAPTION = (
    "Cost of a step of a tenth of the mean input length, by its squared length, and 1/D* "
    "(features per dimension), by sparsity."
)


def _random(features: int, draw: torch.Generator) -> Float[Tensor, "step feature"]:
    steps = torch.randn(features, features, generator=draw)
    return steps / steps.norm(dim=1, keepdim=True)


def _findings(
    settings: PlateauSettings, rows: list[dict[str, float]], rise: float, tracks: float
) -> list[Finding]:
    n = f"{len(rows)} models, {_SAMPLES:,} inputs each"
    flat = max(abs(row["without_superposition"] - 1) for row in rows)
    less = max(row["random_attack"] / row["vulnerability"] for row in rows)
    return [
        Finding("vulnerability of the most vulnerable model, by that of the densest", rise, n,
                f"more than {RISES:g} (TMS)", holds=rise > RISES),
        Finding("correlation of vulnerability with 1/D*", tracks, n, f"at least {TRACKS} (TMS)",
                holds=tracks >= TRACKS),
        Finding("of a model that keeps m features at right angles: largest distance from 1", flat, n,
                "0", PLANTED, flat < 1e-3),
        Finding("random steps by the best attack: largest ratio of their costs", less,
                f"{n}, {settings.features} steps", "below 1", NULL, less < 1),
    ]  # fmt: skip
