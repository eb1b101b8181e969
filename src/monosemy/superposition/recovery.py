"""Which features are active? Three decoders of one known dictionary, from a readout to a search.

``x = sum over the k active of w_i``, with random directions of length one. *One shot*: the k largest of
``W x``. *One LISTA step* (Gregor and LeCun 2010): what the first guess leaves over is read once more.
*Orthogonal matching pursuit* (Pati et al. 1993): one feature at a time, all refitted each time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from monosemy.foundation.errors import refuse
from monosemy.foundation.progress import SILENT, Progress
from monosemy.tensors.axes import Bool, Float, Tensor
from monosemy.tensors.compute import Compute

Directions = Float[Tensor, "feature width"]
Mixed = Float[Tensor, "sample width"]
Support = Bool[Tensor, "sample feature"]
Decoder = Callable[[Mixed, Directions, int], Support]


def one_shot(x: Mixed, directions: Directions, k: int) -> Support:
    """The k largest of ``W x``."""
    return _largest(x @ directions.T, k)


def lista_step(x: Mixed, directions: Directions, k: int) -> Support:
    """``z = W x`` of the k largest; then the k largest of ``z + W (x - W^T z)``.

    The first guess is scaled to fit ``x`` best as a whole: the readings of active features are all too
    large by what they lend each other.
    """
    read = x @ directions.T
    z = read * _largest(read, k)
    written = z @ directions
    scale = (x * written).sum(1) / written.square().sum(1).clamp_min(1e-30)
    z, written = z * scale[:, None], written * scale[:, None]
    return _largest(z + (x - written) @ directions.T, k)


def matching_pursuit(x: Mixed, directions: Directions, k: int) -> Support:
    """Greedy, with all coefficients refitted after each choice."""
    from sklearn.linear_model import orthogonal_mp_gram

    W = directions.double().numpy()
    codes = orthogonal_mp_gram(
        W @ W.T, W @ x.double().numpy().T, n_nonzero_coefs=k, copy_Xy=False, copy_Gram=False
    )
    return torch.from_numpy(codes.reshape(len(W), -1).T.copy()) != 0


DECODERS: dict[str, Decoder] = {
    "one shot": one_shot, "one LISTA step": lista_step, "matching pursuit": matching_pursuit,
}  # fmt: skip
"""From the least work to the most."""


@dataclass(frozen=True)
class RecoveryConfig:
    """How recovery is measured."""

    features: int = 512
    """Of the dictionary."""
    width: int = 64
    """Axes."""
    most: int = 16
    """Active features, from one to so many."""
    samples: int = 100
    """Mixtures of each dictionary, at each number of active features."""
    dictionaries: int = 3
    """Random ones."""

    def __post_init__(self) -> None:
        least = {"features": 2, "width": 2, "most": 1, "samples": 10, "dictionaries": 1}
        reasons = [f"{name} = {getattr(self, name)}; wanted at least {lowest}"
                   for name, lowest in least.items() if getattr(self, name) < lowest]  # fmt: skip
        if self.most > min(self.features, self.width):
            reasons.append(
                f"most = {self.most} active of {self.features} features in {self.width} axes"
            )
        refuse(reasons, "this measurement of recovery")


def random_directions(features: int, width: int, draw: torch.Generator) -> Directions:
    """Even on the sphere, in double precision."""
    rows = torch.randn(features, width, generator=draw, dtype=torch.float64)
    return torch.nn.functional.normalize(rows, dim=1)


def mixtures(
    directions: Directions, k: int, samples: int, draw: torch.Generator
) -> tuple[Mixed, Support]:
    """Sums of k different directions, and which."""
    chosen = torch.rand(samples, len(directions), generator=draw).topk(k, dim=1).indices
    active = torch.zeros(samples, len(directions), dtype=torch.bool).scatter(1, chosen, value=True)
    return active.to(directions) @ directions, active


def measure_recovery(
    config: RecoveryConfig, compute: Compute, progress: Progress = SILENT
) -> dict[str, list[float]]:
    """Decoder -> share of mixtures of 1 to ``config.most`` features whose support is found exactly.

    ``another dictionary`` is the null: matching pursuit with directions that made nothing.
    """
    found = {name: [0.0] * config.most for name in (*DECODERS, "another dictionary")}
    with progress.task("recovery", config.dictionaries * config.most, "sizes") as task:
        for number in range(config.dictionaries):
            draw = compute.generator(f"recovery/{number}")
            W = random_directions(config.features, config.width, draw)
            other = random_directions(config.features, config.width, draw)
            for k in range(1, config.most + 1):
                x, active = mixtures(W, k, config.samples, draw)
                for name, decode in DECODERS.items():
                    found[name][k - 1] += exact(decode(x, W, k), active) / config.dictionaries
                wrong = exact(matching_pursuit(x, other, k), active)
                found["another dictionary"][k - 1] += wrong / config.dictionaries
                task.advance()
    return found


def exact(found: Support, active: Support) -> float:
    """Share of samples whose support is found with nothing missing and nothing added."""
    return float((found == active).all(1).double().mean())


def half_point(shares: Sequence[float], level: float = 0.5) -> float:
    """How many active features until fewer than `level` of the supports are found, interpolated."""
    before = 1.0
    for k, share in enumerate(shares, start=1):
        if share < level:
            return k - 1 + (before - level) / max(before - share, 1e-12)
        before = share
    return float(len(shares))


def wilson(share: float, n: int) -> tuple[float, float]:
    """95 % interval of a share of n (Wilson 1927)."""
    z = 1.959964
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def _largest(values: Float[Tensor, "sample feature"], k: int) -> Support:
    chosen = values.topk(k, dim=1).indices
    return torch.zeros_like(values, dtype=torch.bool).scatter(1, chosen, value=True)
