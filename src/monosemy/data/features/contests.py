"""Contests among siblings: how often one that is active is the one that stays."""

from __future__ import annotations

import torch

from monosemy.tensors.axes import Float, Int, Tensor


def stay_shares(
    contest: Int[Tensor, "node"], active: Float[Tensor, "point node"]
) -> Float[Tensor, "point node"]:
    """Probability that a node which is active stays, in the contest of that number; -1 for none.

    Of ``1 + K`` active siblings each stays with probability ``1 / (1 + K)``. Where they are active
    independently, with probabilities ``p``,

        E[1 / (1 + K)]  =  integral over t from 0 to 1 of  product over the others of (1 - p + p t)

    because ``E[t^K]`` is that product. It is a polynomial, so Gauss-Legendre points give it exactly.
    """
    shares = torch.ones_like(active)
    order = torch.argsort(contest, stable=True)
    order = order[contest[order] >= 0]
    sizes = contest[order].unique_consecutive(return_counts=True)[1]
    starts = sizes.cumsum(0) - sizes
    for size in sizes.unique().tolist():
        family = order[starts[sizes == size][:, None] + torch.arange(size)]
        shares[:, family] = _stays(active[:, family])
    return shares


def _stays(active: Float[Tensor, "point family child"]) -> Float[Tensor, "point family child"]:
    total = torch.zeros_like(active)
    for t, weight in _legendre(-(-active.shape[2] // 2)):
        factors = 1 - active + active * t
        total += weight * _products_of_others(factors)
    return total


def _products_of_others(
    factors: Float[Tensor, "point family child"],
) -> Float[Tensor, "point family child"]:
    """All that come before, times all that come after: no division, so zeros are no trouble."""
    before, after = torch.ones_like(factors), torch.ones_like(factors)
    before[:, :, 1:] = factors[:, :, :-1].cumprod(2)
    after[:, :, :-1] = factors.flip(2)[:, :, :-1].cumprod(2).flip(2)
    return before * after


def _legendre(count: int) -> list[tuple[float, float]]:
    """Points and weights on [0, 1], exact for polynomials of degree ``2 count - 1``."""
    size = torch.arange(1, count, dtype=torch.float64)
    beside = size / (4 * size.square() - 1).sqrt()
    points, vectors = torch.linalg.eigh(torch.diag(beside, 1) + torch.diag(beside, -1))
    return list(zip(((points + 1) / 2).tolist(), vectors[0].square().tolist(), strict=True))
