"""The visible twin of every kernel: dense torch, a line or three each. Tests compare the two."""

from __future__ import annotations

import torch

from monosemy.tensors.axes import Float, Int, Tensor
from monosemy.tensors.codes import SparseCode
from monosemy.tensors.rows import AdamSettings, RowGradient


def pre_activations(
    x: Float[Tensor, "token width"],
    W: Float[Tensor, "latent width"],
    b: Float[Tensor, "latent"],
) -> Float[Tensor, "token latent"]:
    """``x Wᵀ + b``."""
    return x @ W.T + b


def keep_largest(x: Tensor, W: Tensor, b: Tensor, k: int) -> SparseCode:
    """The `k` largest positive entries of each token; of equal entries the lowest latent."""
    pre = pre_activations(x, W, b)
    return SparseCode.from_mask(largest_mask(_positive(pre), k), pre)


def keep_above(x: Tensor, W: Tensor, b: Tensor, floor: Float[Tensor, "latent"]) -> SparseCode:
    """Entries strictly above their latent's floor."""
    pre = pre_activations(x, W, b)
    return SparseCode.from_mask(pre > floor, pre)


def keep_batch(x: Tensor, W: Tensor, b: Tensor, count: int, guess: float = 0.0) -> SparseCode:
    """The `count` largest positive entries of the batch; of equal ones the first by token, latent."""
    pre = pre_activations(x, W, b)
    flat = _positive(pre).reshape(1, -1)
    return SparseCode.from_mask(largest_mask(flat, count).view_as(pre), pre)


def product(
    code: SparseCode, matrix: Float[Tensor, "latent width"]
) -> Float[Tensor, "token width"]:
    """``code matrix``."""
    return code.dense() @ matrix


def residual(
    code: SparseCode, matrix: Tensor, target: Float[Tensor, "token width"], shift: Tensor
) -> tuple[Float[Tensor, "token width"], Float[Tensor, "token"]]:
    """``target - shift - code matrix`` and its squared length, token by token."""
    rest = target - shift - code.dense() @ matrix
    return rest, rest.square().sum(1)


def dots(code: SparseCode, left: Tensor, right: Tensor) -> Float[Tensor, "active"]:
    """``<left[token], right[latent]>`` for every entry."""
    return (left @ right.T)[code.rows, code.indices]


def sum_by_latent(code: SparseCode) -> Float[Tensor, "latent"]:
    """Sum of each latent's values."""
    return code.dense().sum(0)


def weighted_sum(
    weights: Float[Tensor, "latent"], matrix: Float[Tensor, "latent width"]
) -> Float[Tensor, "width"]:
    """``weights matrix``."""
    return weights @ matrix


def add_rows(code: SparseCode, matrix: Float[Tensor, "token width"], into: RowGradient) -> None:
    """``into += codeᵀ matrix``; rows without an entry stay untouched."""
    into.values.copy_(into.dense() + code.dense().T @ matrix)
    into.changed(code.indices)


def squared_norm(gradient: RowGradient) -> Float[Tensor, ""]:
    """``sum |g|²``; where rows ``w`` are kept at length one, of ``g - <g, w> w``."""
    return _across(gradient.dense(), gradient.unit).double().square().sum()


def update_rows(
    parameter: Tensor, gradient: RowGradient, mean: Tensor, variance: Tensor,
    settings: AdamSettings, seen: Int[Tensor, "latent"] | None = None,
) -> None:  # fmt: skip
    """One step of AdamW on every row, in place; the gradient is spent.

    With `seen` (the step at which each row last had a gradient) rows without one are left where
    they are. When a row returns, its moments have decayed by ``beta ** (steps gone by)`` first, so
    they are what they would be had every step been made; only the movement of silent rows is left
    out, which is none where ``betas[0]`` is 0 and there is no weight decay.
    """
    first, second = settings.betas
    active = torch.ones_like(gradient.touched) if seen is None else gradient.touched.clone()
    gone = torch.ones_like(mean[:, :1])
    if seen is not None:
        gone = (settings.step - seen)[:, None].to(mean.dtype)
    grad = _across(gradient.dense(), gradient.unit) * settings.scale
    new_mean = mean * first**gone + (1 - first) * grad
    new_variance = variance * second**gone + (1 - second) * grad.square()
    root = (new_variance / (1 - second**settings.step)).sqrt() + settings.eps
    moved = parameter * (1 - settings.rate * settings.decay)
    moved = moved - settings.rate * (new_mean / (1 - first**settings.step)) / root
    if gradient.unit is not None:
        moved = moved / moved.norm(dim=1, keepdim=True).clamp_min(1e-12)
    for kept, new in ((mean, new_mean), (variance, new_variance), (parameter, moved)):
        kept.copy_(torch.where(active[:, None], new, kept))
    if seen is not None:
        seen.masked_fill_(active, settings.step)
    gradient.touched.fill_(False)


def largest_mask(pre: Float[Tensor, "token latent"], k: int) -> Tensor:
    """Where the `k` largest entries of each row are, among those that are not ``-inf``."""
    order = pre.sort(dim=1, descending=True, stable=True).indices[:, :k]
    mask = torch.zeros_like(pre, dtype=torch.bool).scatter(1, order, True)
    return mask & (pre > -torch.inf)


def _positive(pre: Tensor) -> Tensor:
    return torch.where(pre > 0, pre, -torch.inf)


def _across(grad: Tensor, rows: Tensor | None) -> Tensor:
    return grad if rows is None else grad - (grad * rows).sum(1, keepdim=True) * rows
