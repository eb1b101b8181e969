"""The kernels in plain torch, for whatever device torch runs on."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.nn.functional import embedding_bag

from monosemy.tensors import plain
from monosemy.tensors.axes import Float, Tensor
from monosemy.tensors.codes import SparseCode
from monosemy.tensors.plain import squared_norm as squared_norm
from monosemy.tensors.plain import update_rows as update_rows
from monosemy.tensors.rows import RowGradient

# Pre-activations held at once.
_ENTRIES = 1 << 24


def keep_largest(x: Tensor, W: Tensor, b: Tensor, k: int, propose: bool = False) -> SparseCode:
    """The `k` largest positive entries of each token; of equal ones torch.topk's choice."""
    values, indices = [x.new_empty(0, k)], [torch.empty(0, k, dtype=torch.int64, device=x.device)]
    for part in _parts(x, len(W)):
        pre = plain.pre_activations(part, W, b)
        best, where = pre.nan_to_num(-1.0, torch.inf, -torch.inf).topk(k, dim=1)
        order = where.sort(dim=1)
        values.append(best.gather(1, order.indices))
        indices.append(order.values)
    kept = torch.cat(values) > 0
    offsets = torch.cat([kept.new_zeros(1, dtype=torch.int64), kept.sum(1).cumsum(0)])
    return SparseCode(offsets, torch.cat(indices)[kept], torch.cat(values)[kept], len(W))


def keep_above(
    x: Tensor, W: Tensor, b: Tensor, floor: Float[Tensor, "latent"], propose: bool = False
) -> SparseCode:
    """Entries strictly above their latent's floor."""
    return SparseCode.stacked([plain.keep_above(part, W, b, floor) for part in _parts(x, len(W))])


def keep_batch(
    x: Tensor, W: Tensor, b: Tensor, count: int, guess: float = 0.0, propose: bool = False
) -> SparseCode:
    """The `count` largest positive entries of the batch; of equal ones the first by token, latent."""
    floor = b.new_full((len(W),), max(guess, 0.0))
    code = keep_above(x, W, b, floor)
    if len(code.values) < count and guess > 0:
        return keep_batch(x, W, b, count)
    if len(code.values) <= count:
        return code
    best = plain.largest_mask(code.values[None], count)[0]
    counts = torch.bincount(code.rows[best], minlength=code.tokens)
    offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    return SparseCode(offsets, code.indices[best], code.values[best], len(W))


def product(
    code: SparseCode, matrix: Float[Tensor, "latent width"]
) -> Float[Tensor, "token width"]:
    """``code matrix``: rows gathered and summed, token by token."""
    return _bags(code.indices, code.values, code.offsets, matrix)


def residual(
    code: SparseCode, matrix: Tensor, target: Float[Tensor, "token width"], shift: Tensor
) -> tuple[Float[Tensor, "token width"], Float[Tensor, "token"]]:
    """``target - shift - code matrix`` and its squared length, token by token."""
    rest = target.detach() - shift.detach() - product(code, matrix)
    return rest, rest.square().sum(1)


def nested_residual(
    part: SparseCode, matrix: Tensor, target: Tensor, shift: Tensor, prefixes: int
) -> tuple[Float[Tensor, "token prefix width"], Float[Tensor, "token prefix"]]:
    """`residual` after each prefix; `part` has a row for each token and prefix."""
    new = product(part, matrix).view(len(target), prefixes, -1)
    rest = (target - shift).detach()[:, None] - new.cumsum(1)
    return rest, rest.square().sum(2)


def suffix_sums(
    rest: Float[Tensor, "token prefix width"], weights: Float[Tensor, "token prefix"]
) -> Float[Tensor, "token prefix width"]:
    """``sum over later prefixes q >= p of weights[q] rest[q]``."""
    return (rest * weights[..., None]).flip(1).cumsum(1).flip(1)


def dots(code: SparseCode, left: Tensor, right: Tensor) -> Float[Tensor, "active"]:
    """``<left[token], right[latent]>`` for every entry."""
    size = max(1, _ENTRIES // left.shape[1])
    pairs = zip(code.rows.split(size), code.indices.split(size), strict=True)
    return torch.cat([(left[rows] * right[latents]).sum(1) for rows, latents in pairs])


def sum_by_latent(code: SparseCode) -> Float[Tensor, "latent"]:
    """Sum of each latent's values, in token order."""
    ones = code.values.new_ones(code.tokens, 1)
    bounds, order = code.by_latent
    return _bags(code.rows[order], code.values[order], bounds, ones)[:, 0]


def weighted_sum(
    weights: Float[Tensor, "latent"], matrix: Float[Tensor, "latent width"]
) -> Float[Tensor, "width"]:
    """``weights matrix``."""
    return weights @ matrix


def add_rows(code: SparseCode, matrix: Float[Tensor, "token width"], into: RowGradient) -> None:
    """``into += codeᵀ matrix``: token rows gathered and summed, latent by latent."""
    bounds, order = code.by_latent
    sums = _bags(code.rows[order], code.values[order], bounds, matrix)
    active = (bounds.diff() > 0)[:, None]
    before = torch.where(into.touched[:, None], into.values, torch.zeros_like(into.values))
    into.values.copy_(torch.where(active, before + sums, before))
    into.changed(active[:, 0])


def _bags(indices: Tensor, values: Tensor, bounds: Tensor, matrix: Tensor) -> Tensor:
    if not len(indices):
        return matrix.new_zeros(len(bounds) - 1, matrix.shape[1])
    return embedding_bag(
        indices, matrix.detach(), bounds, mode="sum", per_sample_weights=values.detach(),
        include_last_offset=True,
    )  # fmt: skip


def _parts(x: Tensor, latents: int) -> Iterator[Tensor]:
    return iter(x.detach().split(max(1, _ENTRIES // latents)))
