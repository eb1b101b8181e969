"""Features of a toy on axes of their own: columns turned out of the crowd, their lengths kept."""

from __future__ import annotations

import torch

from monosemy.tensors.axes import Float, Int, Tensor

Weights = Float[Tensor, "instance hidden feature"]


def widen(weights: Weights, axes: int) -> Float[Tensor, "instance wider feature"]:
    """`axes` new rows of zeros: the same ``WᵀW``."""
    more = weights.new_zeros(weights.shape[0], axes, weights.shape[2])
    return torch.cat([weights, more], 1)


def turn(
    weights: Weights, chosen: Int[Tensor, "instance chosen"], crowd: int, share: float
) -> Weights:
    """Columns of `chosen` with `share` of their squared length on own axes.

        W_i  =  |W_i| (sqrt(1 - share) ŵ_i + sqrt(share) e_i)

    with ``ŵ_i`` the unit vector of the column's first `crowd` numbers, and ``e_i`` the axis
    ``crowd + j`` of the j-th of `chosen`. Lengths stay, so ``W_i . W_i`` does; products with all
    others shrink by ``sqrt(1 - share)``. A column that has nothing in the crowd stays on its axis.
    """
    new = weights.clone()
    instance = torch.arange(len(weights))
    for place in range(chosen.shape[1]):
        column = weights[instance, :, chosen[:, place]]
        length = column.norm(dim=1, keepdim=True)
        old = column[:, :crowd]
        old = old / old.norm(dim=1, keepdim=True).clamp_min(1e-12)
        turned = torch.zeros_like(column)
        turned[:, :crowd] = (1 - share) ** 0.5 * length * old
        turned[:, crowd + place] = share**0.5 * length[:, 0]
        new[instance, :, chosen[:, place]] = turned
    return new


def reserved(
    weights: Weights, chosen: Int[Tensor, "instance chosen"], crowd: int, gone: bool
) -> Weights:
    """1 where a number may change if axes are to stay their features' own, else 0.

    Axes from `crowd` on belong to one of `chosen` each, in their order. Where they are `gone` from the
    crowd, their columns may not come back to it either.
    """
    mask = torch.ones_like(weights)
    mask[:, crowd:] = 0
    instance = torch.arange(len(weights))
    for place in range(chosen.shape[1]):
        mask[instance, crowd + place, chosen[:, place]] = 1
        if gone:
            mask[instance, :crowd, chosen[:, place]] = 0
    return mask
