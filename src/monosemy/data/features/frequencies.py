"""How often features are wanted, and below which others: Zipf's law, and regular trees."""

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
