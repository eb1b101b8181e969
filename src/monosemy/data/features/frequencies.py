"""How often features fire: Zipf's law, and what a hierarchy asks for in return."""

from __future__ import annotations

import torch

from monosemy.tensors.axes import Float, Int, Tensor


def zipf_rates(count: int, exponent: float, most: float, least: float) -> Float[Tensor, "feature"]:
    """Rates from `most` down to `least`, linear in ``rank^-exponent``.

    rate_i = least + (most - least) · (i^-s - n^-s) / (1 - n^-s),    i = 1 ... n
    """
    if count == 1:
        return torch.tensor([most], dtype=torch.float64)
    powers = torch.arange(1, count + 1, dtype=torch.float64) ** -exponent
    return least + (most - least) * (powers - powers[-1]) / (1 - powers[-1])


def forest_parents(count: int, roots: int, branching: int, depth: int) -> Int[Tensor, "feature"]:
    """Parents of `roots` trees numbered level by level; -1 for roots and for what is in no tree.

    Every feature above the last level has `branching` children, while there are features left.
    """
    parents = torch.full((count,), -1)
    start, size = 0, min(roots, count)
    for _ in range(depth):
        below = torch.arange(min(size * branching, count - start - size))
        parents[start + size + below] = start + below // branching
        start, size = start + size, len(below)
    return parents


def first_order_chances(
    wanted: Float[Tensor, "feature"], parents: Int[Tensor, "feature"], exclusive: bool
) -> Float[Tensor, "feature"]:
    """Chances with which each feature is to fire, its parent being active, to be active as wanted.

        chance = min(1, wanted / parent's · (1 + sum over siblings of wanted / parent's))

    The second factor stands for the siblings that an exclusive feature loses to: right to first
    order, too low where siblings are frequent, and cut off at 1 where the siblings together are
    wanted more often than their parent. It is what SAELens compensates by, so that named worlds fire
    as published.
    """
    inside = torch.where(parents >= 0, wanted[parents.clamp(min=0)], 1.0)
    share = wanted / inside
    if not exclusive:
        return share.clamp(max=1)
    together = torch.zeros_like(wanted)
    child = parents >= 0
    together.index_add_(0, parents[child], share[child])
    others = torch.where(child, together[parents.clamp(min=0)] - share, 0.0)
    return (share * (1 + others)).clamp(max=1)
