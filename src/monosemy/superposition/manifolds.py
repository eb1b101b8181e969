"""Clouds of points: how many dimensions they have, and whether a plane of them is a circle.

Intrinsic dimension by two nearest neighbours (Facco et al. 2017); whether a two-dimensional feature
can be reduced, by the two indices of Engels et al. (2024): it is *separable* if some turn makes its
two coordinates independent, and a *mixture* if much of it lies near one line.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from monosemy.foundation.errors import refuse
from monosemy.tensors.axes import Float, Tensor

Points = Float[Tensor, "point width"]
Plane = Float[Tensor, "point 2"]

FEWEST = 50
"""Points below this say nothing about the shape of a cloud."""
EPSILON = 0.1
_TRIM = 0.9
_BINS, _TURNS, _OFFSETS = 8, 24, 64
_DRAWS = 200

# The rule for a circle, fixed on planted clouds of other seeds than those that it is tested on.
SEPARATE, MIXED, HOLE = 0.15, 0.3, 0.5


@dataclass(frozen=True)
class Dimension:
    """An intrinsic dimension with its 95 % interval, and the points that it is of."""

    value: float
    low: float
    high: float
    points: int

    def to_json(self) -> dict[str, Any]:
        """Every attribute."""
        return dict(vars(self))


def two_nn(x: Points, generator: torch.Generator) -> Dimension:
    """Intrinsic dimension from the distances to the first and second neighbour.

    Where density is constant over two neighbours, ``μ = r₂ / r₁`` has ``P(μ > t) = t^-d``, so ``-log(1
    - F(μ))`` is a line through the origin over ``log μ`` with slope d. The largest tenth is left out.
    Points that are equal to another one count once. The interval is a bootstrap over points.

    Errors
    ------
    `UserError` for fewer than 50 different points.
    """
    from sklearn.neighbors import NearestNeighbors

    points = np.unique(x.double().numpy(), axis=0)
    few = f"{len(points)} different points; wanted at least {FEWEST} for a dimension"
    refuse([few] if len(points) < FEWEST else [], "this cloud")
    far = NearestNeighbors(n_neighbors=3).fit(points).kneighbors(points)[0]
    ratio = torch.from_numpy(np.log(far[:, 2] / far[:, 1]))
    drawn = torch.randint(len(ratio), (_DRAWS, len(ratio)), generator=generator)
    low, high = _slope(ratio[drawn]).quantile(torch.tensor([0.025, 0.975]).double()).tolist()
    return Dimension(float(_slope(ratio[None])[0]), low, high, len(points))


def _slope(ratio: Float[Tensor, "draw point"]) -> Float[Tensor, "draw"]:
    many = ratio.shape[1]
    kept = int(_TRIM * many)
    x = ratio.sort(1).values[:, :kept]
    y = -torch.log1p(-torch.arange(1, kept + 1).double() / (many + 1))
    return (x * y).sum(1) / x.square().sum(1)


# --- planes --------------------------------------------------------------------------------------


def separability(plane: Plane) -> float:
    """Least mutual information, in nats, of the two coordinates over all turns of the plane.

    Coordinates are cut into 8 bins of as many points each, and the mean of what independent
    coordinates would show, ``(8 - 1)² / 2n``, is taken off. Zero: some turn makes them independent.
    """
    return min(_information(turned) for turned in _turned(plane, math.pi / 2))


def _turned(plane: Plane, most: float) -> list[Plane]:
    angles = torch.arange(_TURNS).double() * most / _TURNS
    x = plane.double()
    return [
        torch.stack(
            [x[:, 0] * a.cos() - x[:, 1] * a.sin(), x[:, 0] * a.sin() + x[:, 1] * a.cos()], 1
        )
        for a in angles
    ]


def _information(plane: Plane) -> float:
    many = len(plane)
    places = plane.argsort(0).argsort(0) * _BINS // many
    joint = torch.bincount(places[:, 0] * _BINS + places[:, 1], minlength=_BINS**2).double() / many
    joint = joint.view(_BINS, _BINS)
    apart = joint.sum(1, keepdim=True) * joint.sum(0, keepdim=True)
    found = torch.xlogy(joint, (joint / apart).clamp_min(1e-30)).sum()
    return float(found) - (_BINS - 1) ** 2 / (2 * many)


def mixture(plane: Plane, epsilon: float = EPSILON) -> float:
    """Largest share of points near one line, over all lines.

        max over v, c of  P( |v·x + c| < ε sqrt(E (v·x + c)²) )

    With ε = 0.1 about 0.08 for a Gaussian cloud, 0.23 for a circle (near a tangent), half for two
    lines that are taken in turn, and more for a feature that is mostly off.
    """
    largest = 0.0
    for turned in _turned(plane, math.pi):
        along = turned[:, 0].sort().values
        mean, variance = along.mean(), along.var(correction=0)
        centres = along[torch.linspace(0, len(along) - 1, _OFFSETS).long()]
        width = epsilon * (variance + (mean - centres).square()).sqrt()
        inside = torch.searchsorted(along, centres + width) - torch.searchsorted(
            along, centres - width
        )
        largest = max(largest, float(inside.max()) / len(along))
    return largest


@dataclass(frozen=True)
class Shape:
    """What a plane of a cloud looks like.

    Attributes
    ----------
    separability, mixture : see the functions.
    hole : 5 % quantile of the distance from the middle over its median: near one for a circle, zero
        for a cloud.
    explained : share of the cloud's variance in the plane.
    points : how many.
    circular : by the rule of `shape`.
    """

    separability: float
    mixture: float
    hole: float
    explained: float
    points: int
    circular: bool

    def to_json(self) -> dict[str, Any]:
        """Every attribute."""
        return dict(vars(self))


def shape(x: Points) -> tuple[Shape, Float[Tensor, "2 width"], Plane]:
    """The plane of most variance, scaled to equal variances; its axes, and the points in it.

    It is *circular* where it cannot be reduced and has a hole: separability at least 0.15 nats,
    mixture at most 0.3, hole at least 0.5.

    Errors
    ------
    `UserError` for fewer than 50 points, and for points without a plane.
    """
    few = f"{len(x)} points; wanted at least {FEWEST} for a shape"
    refuse([few] if len(x) < FEWEST else [], "this cloud")
    centred = x.double() - x.double().mean(0)
    _, S, V = torch.linalg.svd(centred, full_matrices=False)
    flat = len(S) < 2 or float(S[1]) <= 1e-9 * max(float(S[0]), 1e-30)
    refuse(["all points lie on one line: there is no plane"] if flat else [], "this cloud")
    plane = centred @ V[:2].T / S[:2] * len(x) ** 0.5
    explained = float(S[:2].square().sum() / S.square().sum())
    far = plane.norm(dim=1)
    hole = float(far.quantile(0.05) / far.median())
    apart, near = separability(plane), mixture(plane)
    circular = apart >= SEPARATE and near <= MIXED and hole >= HOLE
    return Shape(apart, near, hole, explained, len(x), circular), V[:2].float(), plane.float()
