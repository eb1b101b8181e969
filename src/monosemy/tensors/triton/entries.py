"""Sparse decode and its gradients: rows gathered at the stored entries, token by token."""

from __future__ import annotations

from typing import no_type_check

import torch
import triton
import triton.language as tl

from monosemy.tensors.axes import Float, Int, Tensor
from monosemy.tensors.codes import SparseCode


@torch.no_grad()
def product(
    code: SparseCode, matrix: Float[Tensor, "latent width"]
) -> Float[Tensor, "token width"]:
    """``sum over entries of value * matrix[latent]``, in fp32. The host never waits."""
    return _decode(code, matrix, None, None)[0]


@torch.no_grad()
def residual(
    code: SparseCode,
    matrix: Float[Tensor, "latent width"],
    target: Float[Tensor, "token width"],
    shift: Float[Tensor, "width"],
) -> tuple[Float[Tensor, "token width"], Float[Tensor, "token"]]:
    """``target - shift - product(code, matrix)`` and its squared length, token by token.

    One pass over the rows, in fp32. The host never waits.
    """
    rest, squares = _decode(code, matrix, target.contiguous(), shift.contiguous())
    return rest, squares.sum(1)


def _decode(
    code: SparseCode, matrix: Tensor, target: Tensor | None, shift: Tensor | None
) -> tuple[Tensor, Tensor]:
    width = matrix.shape[1]
    DEPTH = min(1024, triton.next_power_of_2(width))
    parts = triton.cdiv(width, DEPTH)
    out = matrix.new_empty(code.tokens, width, dtype=torch.float32)
    squares = matrix.new_empty(code.tokens, parts, dtype=torch.float32)
    if out.numel():
        with torch.cuda.device_of(matrix):
            _product[(code.tokens, parts)](
                *_entries(code), matrix.contiguous(), target, shift, out, squares, width, parts,
                RESIDUAL=target is not None, ENTRIES=8, DEPTH=DEPTH,
            )  # fmt: skip
    return out, squares


@torch.no_grad()
def dots(
    code: SparseCode,
    left: Float[Tensor, "token width"],
    right: Float[Tensor, "latent width"],
) -> Float[Tensor, "active"]:
    """``<left[token], right[latent]>`` of every stored entry, in fp32. The host never waits.

    An entry of value 0 is none, so its number is 0: such entries fill up codes of fixed length,
    and no gradient may reach a latent through them. Equal rows give equal numbers wherever they
    stand, since every entry is summed in the same order.
    """
    out = torch.empty(len(code.indices), dtype=torch.float32, device=left.device)
    if len(out):
        with torch.cuda.device_of(left):
            _dots[(code.tokens,)](
                *_entries(code), left.contiguous(), right.contiguous(), out, left.shape[1],
                ENTRIES=32, DEPTH=128,
            )  # fmt: skip
    return out


@torch.no_grad()
def sum_by_latent(code: SparseCode) -> Float[Tensor, "latent"]:
    """Sum of the values of each latent, in token order, in fp32. The host never waits."""
    out = torch.empty(code.latents, dtype=torch.float32, device=code.values.device)
    if code.latents:
        bounds, order = by_latent(code)
        values = code.values.contiguous()
        with torch.cuda.device_of(values):
            _sum[(code.latents,)](bounds, order, values, out, ENTRIES=128, num_warps=1)
    return out


def by_latent(code: SparseCode) -> tuple[Int[Tensor, "bounds"], Int[Tensor, "active"]]:
    """`SparseCode.by_latent` without the host, for sums: entries of value 0 belong to no latent.

    Counting entries would have the host wait. Codes of fixed length hold their missing entries at
    latent 0, where one program would have to add them all.
    """
    keys = torch.where(code.values != 0, code.indices, code.latents).int()
    keys, order = torch.sort(keys, stable=True)
    latents = torch.arange(code.latents + 1, dtype=torch.int32, device=keys.device)
    return torch.searchsorted(keys, latents), order


def _entries(code: SparseCode) -> tuple[Tensor, Tensor, Tensor]:
    return code.offsets.contiguous(), code.indices.contiguous(), code.values.contiguous()


@triton.jit
@no_type_check
def _product(
    offsets, indices, values, matrix, target, shift, out, squares, width, parts,
    RESIDUAL: tl.constexpr, ENTRIES: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    token = tl.program_id(0).to(tl.int64)
    depth = tl.program_id(1) * DEPTH + tl.arange(0, DEPTH)
    last = tl.load(offsets + token + 1)
    total = tl.zeros([DEPTH], tl.float32)
    for start in range(tl.load(offsets + token), last, ENTRIES):
        entry = start + tl.arange(0, ENTRIES)
        latent = tl.load(indices + entry, mask=entry < last, other=0)
        value = tl.load(values + entry, mask=entry < last, other=0.0)
        inside = (entry < last)[:, None] & (depth < width)[None, :]
        rows = tl.load(matrix + latent[:, None] * width + depth[None, :], mask=inside, other=0.0)
        total += tl.sum(value[:, None] * rows, axis=0)
    at = token * width + depth
    if RESIDUAL:
        wanted = tl.load(target + at, mask=depth < width, other=0.0)
        total = wanted - tl.load(shift + depth, mask=depth < width, other=0.0) - total
        tl.store(squares + token * parts + tl.program_id(1), tl.sum(total * total, axis=0))
    tl.store(out + at, total, mask=depth < width)


@triton.jit
@no_type_check
def _dots(
    offsets, indices, values, left, right, out, width, ENTRIES: tl.constexpr, DEPTH: tl.constexpr
):  # fmt: skip
    token = tl.program_id(0).to(tl.int64)
    last = tl.load(offsets + token + 1)
    for start in range(tl.load(offsets + token), last, ENTRIES):
        entry = start + tl.arange(0, ENTRIES)
        live = tl.load(values + entry, mask=entry < last, other=0.0) != 0
        rows = right + tl.load(indices + entry, mask=live, other=0)[:, None] * width
        total = tl.zeros([ENTRIES], tl.float32)
        for first in range(0, width, DEPTH):
            depth = first + tl.arange(0, DEPTH)
            here = tl.load(left + token * width + depth, mask=depth < width, other=0.0)
            inside = live[:, None] & (depth < width)[None, :]
            there = tl.load(rows + depth[None, :], mask=inside, other=0.0)
            total += tl.sum(here[None, :] * there, axis=1)
        # Not 0 times a row: that would be NaN where the row of the token is not finite.
        tl.store(out + entry, tl.where(live, total, 0.0), mask=entry < last)


@triton.jit
@no_type_check
def _sum(bounds, order, values, out, ENTRIES: tl.constexpr):
    latent = tl.program_id(0)
    last = tl.load(bounds + latent + 1)
    total = tl.zeros([ENTRIES], tl.float32)
    for start in range(tl.load(bounds + latent), last, ENTRIES):
        at = start + tl.arange(0, ENTRIES)
        entry = tl.load(order + at, mask=at < last, other=0)
        total += tl.load(values + entry, mask=at < last, other=0.0)
    tl.store(out + latent, tl.sum(total, axis=0))
