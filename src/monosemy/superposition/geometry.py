"""Geometry of features in superposition: their dimensionalities, the frame they make, its blocks.

``W`` has a column for each feature. Elhage et al. 2022 (arXiv:2209.10652); the frame operator and why
blocks are tight frames: Ivanov et al. 2026 (arXiv:2602.02224).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from monosemy.foundation.errors import UserError
from monosemy.tensors.axes import Float, Tensor

Weights = Float[Tensor, "*instance hidden feature"]
OfFeatures = Float[Tensor, "*instance feature"]

PLATEAUS = {
    "own dimension": 1.0, "tetrahedron": 3 / 4, "triangle": 2 / 3, "antipodal pair": 1 / 2,
    "pentagon": 2 / 5, "square antiprism": 3 / 8,
}  # fmt: skip
"""Dimensionality of each feature of a regular block: its dimensions by its features."""
HALF_WIDTH = 0.015
"""How far from a plateau a dimensionality may be and still be counted to it."""
REPRESENTED = 0.4
"""Length of a column from which on its feature counts as represented."""
# (features, dimensions) -> name of the regular block. An octahedron is three antipodal pairs at right
# angles, so as connected blocks it is found as those; `solids` puts them together again.
_NAMES = {
    (1, 1): "own dimension", (2, 1): "antipodal pair", (3, 2): "triangle", (4, 2): "square",
    (5, 2): "pentagon", (6, 2): "hexagon", (4, 3): "tetrahedron", (8, 3): "square antiprism",
}  # fmt: skip


def gram(weights: Weights) -> Float[Tensor, "*instance feature feature"]:
    """``WᵀW``."""
    return weights.transpose(-1, -2) @ weights


def frame(weights: Weights) -> Float[Tensor, "*instance hidden hidden"]:
    """The frame operator ``F = W Wᵀ``; a multiple of one where the frame is tight."""
    return weights @ weights.transpose(-1, -2)


def norms(weights: Weights) -> OfFeatures:
    """Length of each column."""
    return weights.square().sum(-2).sqrt()


def dimensionality(weights: Weights) -> OfFeatures:
    """``D_i = ||W_i||² / sum_j (Ŵ_i . W_j)²``, between 0 and 1; 0 for a column of zeros.

    The same number as the capacity of Scherlis et al. 2022 (arXiv:2210.01892). Its sum is at most
    ``hidden``, and exactly that where each column is an eigenvector of the frame operator.
    """
    products = gram(weights)
    squares = products.diagonal(dim1=-2, dim2=-1)
    return squares.square() / products.square().sum(-1).clamp(min=1e-30)


def dimensions_per_feature(weights: Weights) -> Float[Tensor, "*instance"]:
    """``D* = hidden / ||W||²``: how many dimensions a represented feature has on average."""
    return weights.shape[-2] / weights.square().sum((-1, -2)).clamp(min=1e-30)


def interference(weights: Weights) -> OfFeatures:
    """``sum_{j != i} (Ŵ_i . W_j)²``: 0 for a feature alone, 1 or more for one that is swamped."""
    products = gram(weights)
    squares = products.diagonal(dim1=-2, dim2=-1)
    return products.square().sum(-1) / squares.clamp(min=1e-30) - squares


def plateau_shares(
    weights: Weights, half_width: float = HALF_WIDTH, represented: float = REPRESENTED
) -> list[dict[str, float]]:
    """For each instance, the share of represented features at each of `PLATEAUS`, and at ``none``.

    Errors
    ------
    `UserError` where an instance represents no feature.
    """
    flat = weights.reshape(-1, *weights.shape[-2:])
    found = []
    for place, one in enumerate(flat):
        values = dimensionality(one)[norms(one) > represented]
        if not len(values):
            raise UserError(
                f"instance {place} represents no feature: no column of W is longer than "
                f"{represented:g}; train it longer"
            )
        shares = {
            name: float(((values - value).abs() <= half_width).float().mean())
            for name, value in PLATEAUS.items()
        }
        found.append(shares | {"none": 1 - sum(shares.values())})
    return found


@dataclass(frozen=True)
class Block:
    """Features that overlap with one another, and with no other.

    Attributes
    ----------
    features : their numbers.
    dimensions : that they span.
    name : of the regular figure that they are, or ``irregular``.
    """

    features: tuple[int, ...]
    dimensions: int
    name: str


def blocks(
    weights: Float[Tensor, "hidden feature"], overlap: float = 0.1, represented: float = REPRESENTED
) -> list[Block]:
    """Connected components of represented features whose cosine is above `overlap` in size.

    A block is named where it is regular: a tight frame (eigenvalues of its frame operator within 10 %
    of each other) of columns of one length (within 5 %). Of an antipodal pair lengths may differ, as
    they do where one is more important.
    """
    from scipy.sparse.csgraph import connected_components

    lengths = norms(weights)
    kept = (lengths > represented).nonzero()[:, 0]
    unit = weights[:, kept] / lengths[kept]
    count, label = connected_components((gram(unit).abs() > overlap).numpy(), directed=False)
    found = []
    for number in range(count):
        members = kept[torch.from_numpy(np.asarray(label)) == number]
        found.append(_block(weights[:, members], tuple(members.tolist())))
    return sorted(found, key=lambda block: block.features)


def _block(columns: Float[Tensor, "hidden feature"], features: tuple[int, ...]) -> Block:
    values = torch.linalg.svdvals(columns).square()
    # Columns of a regular block give eigenvalues n/m; noise of training gives thousandths.
    large = values[values > 0.1 * values[0]]
    lengths = norms(columns)
    tight = bool(large.min() > 0.9 * large.max()) and bool(lengths.min() > 0.95 * lengths.max())
    pair = len(features) == 2 and len(large) == 1
    name = _NAMES.get((len(features), len(large)), "irregular") if tight or pair else "irregular"
    if pair and bool((columns[:, 0] * columns[:, 1]).sum() > 0):
        name = "irregular"  # side by side, and not opposite
    if name == "square antiprism" and bool((gram(columns / lengths) < -0.95).any()):
        name = "cube"  # a tight frame too, in which each corner has an antipode
    return Block(features, len(large), name)


def solids(found: list[Block], hidden: int) -> str:
    """What the blocks make together, where they fill `hidden` dimensions: ``octahedron`` and so on.

    >>> pair = Block((0, 1), 1, "antipodal pair")
    >>> solids([pair, pair, pair], 3)
    'octahedron'
    """
    names = sorted(block.name for block in found)
    known = {
        ("antipodal pair",) * 2: "square", ("antipodal pair",) * 3: "octahedron",
        ("antipodal pair", "triangle"): "triangular bipyramid",
        ("antipodal pair", "pentagon"): "pentagonal bipyramid",
    }  # fmt: skip
    if sum(block.dimensions for block in found) == hidden and tuple(names) in known:
        return known[tuple(names)]
    return ", ".join(f"{names.count(name)} {name}" for name in dict.fromkeys(names))
