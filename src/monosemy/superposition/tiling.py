"""How many features of a dictionary tile one manifold; subspaces of clusters against one for all."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from monosemy.foundation.errors import refuse
from monosemy.tensors.axes import Bool, Float, Int, Tensor

COSINE, FIRING = 0.75, 0.25
"""From which two latents are neighbours in a family: cosine of directions, correlation of firing."""
INSIDE = 0.9
"""Share of a direction's squared length that lies in a plane, from which it belongs to it."""


@dataclass(frozen=True)
class Tiles:
    """The latents whose directions lie in one plane.

    Attributes
    ----------
    latents : their numbers, in order of angle.
    gap : largest angle between neighbours, in degrees; 360 where there is none or one.
    """

    latents: tuple[int, ...]
    gap: float

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.latents)


def tiles(
    directions: Float[Tensor, "latent width"],
    plane: Float[Tensor, "2 width"],
    inside: float = INSIDE,
) -> Tiles:
    """The unit directions that lie in a plane: ``‖P d‖² >= 0.9``.

    Of n evenly spread ones the gap is 360° / n.
    """
    axes = torch.linalg.qr(plane.double().T)[0]
    along = directions.double() @ axes
    chosen = torch.nonzero(along.square().sum(1) >= inside).flatten()
    angle = torch.atan2(along[chosen, 1], along[chosen, 0]) % (2 * math.pi)
    order = angle.argsort()
    ordered = angle[order]
    gap = 2 * math.pi
    if len(ordered) > 1:
        after = torch.cat([ordered[1:], ordered[:1] + 2 * math.pi])
        gap = float((after - ordered).max())
    return Tiles(tuple(chosen[order].tolist()), math.degrees(gap))


def of_chance(inside: float, width: int) -> float:
    """Share of random directions in `width` dimensions that lie so far in a given plane.

    The squared length in the plane is Beta(1, (width - 2) / 2): ``(1 - inside)^((width - 2) / 2)``.
    """
    return (1 - inside) ** ((width - 2) / 2)


def together(active: Bool[Tensor, "token latent"]) -> Float[Tensor, "latent latent"]:
    """φ, the correlation of the firing of every two latents."""
    fires = active.double()
    both = fires.T @ fires / len(fires)
    rate = fires.mean(0)
    spread = (rate * (1 - rate)).sqrt()
    return (both - torch.outer(rate, rate)) / torch.outer(spread, spread).clamp_min(1e-12)


def families(
    directions: Float[Tensor, "latent width"], active: Bool[Tensor, "token latent"],
    cosine: float = COSINE, firing: float = FIRING,
) -> Int[Tensor, "latent"]:  # fmt: skip
    """The family of every latent: chains in which neighbours point alike or fire together.

    Connected components of the graph that joins two latents of a cosine of at least `cosine`, or of
    a `together` of at least `firing`. Neighbours on a finely tiled circle have directions alike; on
    one that is written by four latents at right angles they fire together; opposite sides have
    neither, and belong together by what lies between. Most families have one latent. (Engels et al.
    2024 cluster decoder directions alone.)

    Errors
    ------
    `UserError` for bounds that are not above 0 and at most 1.
    """
    from scipy.sparse.csgraph import connected_components

    bounds = {"cosine": cosine, "firing": firing}
    refuse([f"{name} is {value}; wanted above 0, at most 1" for name, value in bounds.items()
            if not 0 < value <= 1], "these families")  # fmt: skip
    unit = torch.nn.functional.normalize(directions.double(), dim=1)
    joined = (unit @ unit.T >= cosine) | (together(active) >= firing)
    found = connected_components(joined.numpy(), directed=False)[1]
    return torch.from_numpy(found).long()


# --- local against global ------------------------------------------------------------------------


@dataclass(frozen=True)
class Captured:
    """Variance inside clusters that subspaces of one rank hold, on points that did not choose them.

    Attributes
    ----------
    local : each cluster its own subspace.
    pooled : one subspace for all clusters, about the mean of each.
    clusters, rank, points : how many; points are those that were held out.
    """

    local: float
    pooled: float
    clusters: int
    rank: int
    points: int

    @property
    def gain(self) -> float:
        """What having subspaces of their own is worth."""
        return self.local - self.pooled

    def to_json(self) -> dict[str, Any]:
        """Every attribute, and the gain."""
        return {**vars(self), "gain": self.gain}


def captured(
    x: Float[Tensor, "point width"], clusters: int, rank: int, generator: torch.Generator
) -> Captured:
    """Cluster half of the points, find subspaces there, and hold the other half against them.

    Errors
    ------
    `UserError` where clusters are fewer than two, or points too few for subspaces of that rank.
    """
    from sklearn.cluster import KMeans

    least = 4 * clusters * (rank + 2)
    reasons = []
    if clusters < 2 or rank < 1 or rank >= x.shape[1]:
        reasons.append(f"{clusters} clusters of rank {rank} in {x.shape[1]} dimensions; wanted at "
                       "least 2, and a rank from 1 to below the width")  # fmt: skip
    if len(x) < least:
        reasons.append(f"{len(x):,} points for {clusters} clusters of rank {rank}; wanted at least "
                       f"{least:,}")  # fmt: skip
    refuse(reasons, "these subspaces")
    order = torch.randperm(len(x), generator=generator)
    first, held = x[order[: len(x) // 2]].double(), x[order[len(x) // 2 :]].double()
    means = KMeans(clusters, n_init=3, random_state=generator.initial_seed() % 2**32).fit(
        first.numpy()
    )
    own = torch.from_numpy(means.labels_).long()
    other = torch.from_numpy(means.predict(held.numpy())).long()
    centres = torch.stack([first[own == k].mean(0) for k in range(clusters)])
    inner, outer = first - centres[own], held - centres[other]
    pooled = _leading(inner, rank)
    local = sum(float((outer[other == k] @ _leading(inner[own == k], rank)).square().sum())
                for k in range(clusters))  # fmt: skip
    total = float(outer.square().sum())
    return Captured(
        local / total, float((outer @ pooled).square().sum()) / total, clusters, rank, len(held)
    )


def _leading(rows: Float[Tensor, "point width"], rank: int) -> Float[Tensor, "width rank"]:
    return torch.linalg.eigh(rows.T @ rows).eigenvectors.flip(1)[:, :rank]


def gaussian_like(
    x: Float[Tensor, "point width"], generator: torch.Generator
) -> Float[Tensor, "point width"]:
    """A Gaussian cloud with the mean and covariance of `x`: the null, in which nothing is local."""
    centred = x.double() - x.double().mean(0)
    values, axes = torch.linalg.eigh(centred.T @ centred / len(x))
    noise = torch.randn(x.shape, generator=generator, dtype=torch.float64)
    return (x.double().mean(0) + noise * values.clamp_min(0).sqrt() @ axes.T).to(x)
