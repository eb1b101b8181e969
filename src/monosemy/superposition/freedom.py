"""How many directions a cloud of vectors has: span, effective and intrinsic dimension, free choice.

Four different questions. The *span* is the dimension of the subspace that the vectors lie in. The
*rank of a norm's Jacobian* is the dimension of the surface that its outputs make. The *participation
ratio* says over how many axes their variance is spread. *TwoNN* estimates the dimension of the surface
from neighbours, where there is no Jacobian to ask.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from monosemy.foundation.errors import UserError
from monosemy.tensors.axes import Bool, Float, Tensor

# Of the largest singular value. In double precision rounding leaves 1e-15 of it.
RANK = 1e-9
# Neighbours that are farther than most say more about the cloud's edge than about its dimension; the
# share that Facco et al. leave out.
_FAR = 0.1


def span(points: Float[Tensor, "point width"], tolerance: float = RANK) -> int:
    """Rank of the points about the origin: singular values above `tolerance` of the largest.

    Errors
    ------
    `UserError` for fewer points than axes, whose rank is the number of points.
    """
    if len(points) < points.shape[1]:
        raise UserError(
            f"{len(points):,} points of {points.shape[1]:,} axes; a span needs at least as many "
            "points as axes"
        )
    values = torch.linalg.eigvalsh(_scaled_gram(points)).clamp_min(0).sqrt()
    # The Gram matrix squares: below the root of its own rounding nothing can be told.
    return int((values > max(tolerance, 1e-7) * values.max()).sum())


def jacobian_values(
    function: Callable[[Tensor], Tensor], point: Float[Tensor, "width"]
) -> Float[Tensor, "width"]:
    """Singular values of the Jacobian of `function` at `point`, largest first, in double precision."""
    jacobian = torch.autograd.functional.jacobian(function, point.double(), vectorize=True)
    return torch.linalg.svdvals(jacobian)


def jacobian_rank(
    function: Callable[[Tensor], Tensor], point: Float[Tensor, "width"], tolerance: float = RANK
) -> int:
    """Dimensions in which outputs move when inputs do: the dimension of the surface of outputs."""
    values = jacobian_values(function, point)
    return int((values > tolerance * values.max()).sum())


def participation_ratio(points: Float[Tensor, "point width"], centred: bool = False) -> float:
    """``(sum_i lambda_i)^2 / sum_i lambda_i^2`` over eigenvalues of the second moment.

    ``width`` where all axes carry as much, 1 where one carries everything.
    """
    rows = points - points.mean(0) if centred else points
    values = torch.linalg.eigvalsh(_scaled_gram(rows)).clamp_min(0)
    return float(values.sum().square() / values.square().sum())


def two_nn(points: Float[Tensor, "point width"], at_most: int = 4000) -> float:
    """Intrinsic dimension from the two nearest neighbours of each point (Facco et al. 2017).

    ``mu = r2 / r1`` is Pareto with exponent d where density is even over that distance, so
    ``-log(1 - F(mu)) = d log mu``: d is the slope through the origin, the largest tenth left out.
    High dimensions are underestimated: points are never dense there.

    Errors
    ------
    `UserError` for fewer than 20 different points.
    """
    from scipy.spatial import cKDTree

    rows = np.unique(points[:at_most].double().numpy(), axis=0)
    if len(rows) < 20:
        raise UserError(f"{len(rows)} different points; TwoNN needs at least 20")
    near = cKDTree(rows).query(rows, k=3)[0]
    mu = np.sort(near[:, 2] / near[:, 1])
    kept = int(len(mu) * (1 - _FAR))
    x = np.log(mu[:kept])
    y = -np.log(1 - np.arange(1, kept + 1) / len(mu))
    return float(x @ y / (x @ x))


def unselectable(keys: Float[Tensor, "key width"]) -> Bool[Tensor, "key"]:
    """Which keys no query can prefer: those inside the convex hull of the others.

    A query q prefers key i where ``q . k_i > q . k_j`` for all others; such a q exists exactly
    where ``k_i`` is no convex combination of them. One linear program a key (Brody, Alon and Yahav
    2023, arXiv:2305.02582).

    Errors
    ------
    `UserError` for fewer than two keys.
    """
    from scipy.optimize import linprog

    if len(keys) < 2:
        raise UserError(f"{len(keys)} keys; wanted at least 2, of which one could be preferred")
    rows = keys.double().numpy()
    inside = []
    for i in range(len(rows)):
        others = np.delete(rows, i, axis=0)
        # Columns are the others; the last row makes the weights sum to one.
        equal = np.vstack([others.T, np.ones(len(others))])
        answer = linprog(
            np.zeros(len(others)), A_eq=equal, b_eq=np.append(rows[i], 1.0), method="highs"
        )
        inside.append(answer.status == 0)
    return torch.tensor(inside)


def _scaled_gram(rows: Float[Tensor, "point width"]) -> Float[Tensor, "width width"]:
    x = rows.double()
    return x.T @ x / len(x)
