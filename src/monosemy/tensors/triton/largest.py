"""Encode with a top-k epilogue: tiles propose candidates, exact values decide."""

from __future__ import annotations

from typing import no_type_check

import torch
import triton
import triton.language as tl

from monosemy.tensors.axes import Float, Tensor
from monosemy.tensors.codes import SparseCode
from monosemy.tensors.triton.tiles import (
    LAST,
    Operands,
    Tiling,
    place,
    pre_activations,
    settings,
)


@torch.no_grad()
def keep_largest(
    x: Float[Tensor, "token width"],
    W: Float[Tensor, "latent width"],
    b: Float[Tensor, "latent"],
    k: int,
    propose: bool = False,
) -> SparseCode:
    """The `k` largest strictly positive ``<x[t], W[i]> + b[i]`` of every token, in fp32.

    Always ``k`` entries a token, latents ascending; where fewer are positive, the missing ones
    stand first, with value 0 at latent 0. Of equal values the lowest latent; NaN never.

    The tensor cores propose, in TF32 or, with `propose`, in bf16: every tile of tokens and latents
    passes on its few largest entries (24 bits of each), a token's candidates are merged, and a tile
    that might hide one more is computed again. Then ``max(k + 8, 5 k / 4)`` candidates are computed
    in fp32, which decides. So the choice is that of fp32 unless more than ``max(8, k / 4)`` entries
    lie within the proposal's rounding of the k-th; an entry that close to zero may be missing.

    Nothing of size token by latent is written, the host never waits, and a CUDA graph can hold it.
    Memory: a 32nd to a 64th of the pre-activations; with `propose`, also a bf16 copy of `W`.
    """
    tokens, latents = len(x), len(W)
    offsets = torch.arange(tokens + 1, device=x.device) * k
    indices = torch.empty(tokens * k, dtype=torch.int64, device=x.device)
    values = torch.empty(tokens * k, dtype=torch.float32, device=x.device)
    if tokens * k * latents == 0:
        return SparseCode(offsets, indices.zero_(), values.zero_(), latents)
    with torch.cuda.device_of(x):
        candidates, considered = _candidates(Operands.of(x, W, b, propose), k)
        exact = x.contiguous(), W.contiguous(), b.contiguous()
        SLOTS = candidates.shape[1]
        _decide[(tokens,)](
            *exact, candidates, indices, values, considered, k, x.shape[1], SLOTS=SLOTS,
            **_gathering(SLOTS),
        )  # fmt: skip
    return SparseCode(offsets, indices, values, latents)


def _candidates(operands: Operands, k: int) -> tuple[Tensor, int]:
    """Sorted candidates of every token as keys, and how many of them are worth computing."""
    tiling = Tiling.of(operands)
    (tokens, width), latents = operands.x.shape, len(operands.W)
    considered = min(k + max(8, k // 4), latents)
    SLOTS = max(16, triton.next_power_of_2(max(k, considered)))
    # Twice the entries that a tile holds on average, and two: then few tiles hide anything.
    share = 2 * considered * tiling.latents // latents
    KEPT = min(tiling.latents, triton.next_power_of_2(share + 4))
    kept = torch.empty(tokens * tiling.tiles * KEPT, dtype=torch.int32, device=operands.x.device)
    keys = torch.empty(tokens, SLOTS, dtype=torch.int64, device=operands.x.device)
    arguments = operands.x, operands.W, operands.b, kept
    sizes = tokens, latents, width, tiling.tiles
    _propose[tiling.programs](*arguments, *sizes, KEPT=KEPT, **settings(operands, tiling))
    COLUMNS = max(tiling.latents, SLOTS)
    CHUNK = max(SLOTS, min(2048, triton.next_power_of_2(tiling.tiles * KEPT)))
    _merge[(tokens,)](
        *arguments, keys, considered, *sizes, KEPT=KEPT, LATENTS=tiling.latents, SLOTS=SLOTS,
        CHUNK=CHUNK, COLUMNS=COLUMNS, **_gathering(COLUMNS),
    )  # fmt: skip
    return keys, considered


def _gathering(rows: int) -> dict[str, int]:
    """Launch settings of programs that gather `rows` rows: 32 kB at a time stay in registers."""
    return {"DEPTH": max(8, 8192 // rows), "num_warps": 4 if rows <= 256 else 8}


@triton.jit
@no_type_check
def _propose(
    x, W, b, kept, tokens, latents, width, tiles,
    KEPT: tl.constexpr, TOKENS: tl.constexpr, LATENTS: tl.constexpr, DEPTH: tl.constexpr,
    WIDEN: tl.constexpr,
):  # fmt: skip
    """The largest entries of a tile, token by token: value in the high bits, column in the low."""
    block, tile = place(tokens, tiles, TOKENS)
    token = block * TOKENS + tl.arange(0, TOKENS)
    column = tl.arange(0, LATENTS)
    # Neighbours in the dictionary go to different tiles: some dictionaries have dense prefixes.
    latent = column * tiles + tile
    pre = pre_activations(
        x, W, b, token, latent, tokens, latents, width, TOKENS, LATENTS, DEPTH, WIDEN
    )
    keys = _short_keys(pre, column[None, :], (latent < latents)[None, :], LATENTS)
    at = kept + (token.to(tl.int64) * tiles + tile) * KEPT
    for slot in range(KEPT):
        best = tl.max(keys, axis=1)
        tl.store(at + slot, best, mask=token < tokens)
        keys = tl.where(keys == best[:, None], 0, keys)


@triton.jit
@no_type_check
def _short_keys(pre, column, valid, LATENTS: tl.constexpr):
    """Ordered as (value cut to its leading bits, lowest column first); 0 where not positive."""
    bits = pre.to(tl.int32, bitcast=True)
    keys = (bits & -LATENTS) | (LATENTS - 1 - column)
    # A comparison with NaN is false.
    return tl.where((pre > 0) & valid, keys, 0)


@triton.jit
@no_type_check
def _long_keys(short, tile, tiles, LATENTS: tl.constexpr):
    """The same order over the whole dictionary: value, then lowest latent."""
    column = LATENTS - 1 - (short & (LATENTS - 1))
    value = (short & -LATENTS).to(tl.int64) << 32
    return tl.where(short > 0, value | ((column * tiles + tile) ^ LAST).to(tl.int64), 0)


@triton.jit
@no_type_check
def _best_of(one, other, SLOTS: tl.constexpr):
    return tl.topk(tl.reshape(tl.join(one, other), [2 * SLOTS]), SLOTS)


@triton.jit
@no_type_check
def _merge(
    x, W, b, kept, keys, considered, tokens, latents, width, tiles,
    KEPT: tl.constexpr, LATENTS: tl.constexpr, SLOTS: tl.constexpr, CHUNK: tl.constexpr,
    COLUMNS: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    """One token: its best candidates over all tiles, and those that full tiles were hiding."""
    token = tl.program_id(0).to(tl.int64)
    kept += token * tiles * KEPT
    best = tl.zeros([SLOTS], tl.int64)
    for start in range(0, tiles * KEPT, CHUNK):
        at = start + tl.arange(0, CHUNK)
        short = tl.load(kept + at, mask=at < tiles * KEPT, other=0)
        long = _long_keys(short, at // KEPT, tiles, LATENTS)
        best = _best_of(best, tl.topk(long, SLOTS), SLOTS)
    if KEPT < LATENTS:
        slot = tl.arange(0, SLOTS)
        for start in range(0, tiles, CHUNK):
            tile = start + tl.arange(0, CHUNK)
            # What a tile did not pass on is smaller than the last that it did.
            short = tl.load(kept + tile * KEPT + KEPT - 1, mask=tile < tiles, other=0)
            last = _long_keys(short, tile, tiles, LATENTS)
            floor = tl.sum(tl.where(slot == considered - 1, best, 0), axis=0)
            while tl.max(last, axis=0) > floor:
                again = tl.min(tl.where(last > floor, tile, LAST), axis=0)
                column = tl.arange(0, COLUMNS)
                valid = (column < LATENTS) & (column * tiles + again < latents)
                pre = _one_token(
                    x + token * width, W, b, column * tiles + again, valid, width, COLUMNS, DEPTH
                )
                long = _long_keys(_short_keys(pre, column, valid, LATENTS), again, tiles, LATENTS)
                latent = (best & LAST) ^ LAST
                best = tl.where((best > 0) & (latent % tiles == again), 0, best)
                best = _best_of(best, tl.topk(long, SLOTS), SLOTS)
                floor = tl.sum(tl.where(slot == considered - 1, best, 0), axis=0)
                last = tl.where(tile == again, 0, last)
    tl.store(keys + token * SLOTS + tl.arange(0, SLOTS), best)


@triton.jit
@no_type_check
def _one_token(
    x, W, b, latent, valid, width, LATENTS: tl.constexpr, DEPTH: tl.constexpr
):  # fmt: skip
    """``<x, W[latent]> + b[latent]`` for a few latents of one token, in fp32."""
    total = tl.zeros([LATENTS], tl.float32)
    rows = W + latent.to(tl.int64)[:, None] * width
    for start in range(0, width, DEPTH):
        depth = start + tl.arange(0, DEPTH)
        left = tl.load(x + depth, mask=depth < width, other=0.0).to(tl.float32)
        inside = valid[:, None] & (depth < width)[None, :]
        right = tl.load(rows + depth[None, :], mask=inside, other=0.0).to(tl.float32)
        total += tl.sum(left[None, :] * right, axis=1)
    return total + tl.load(b + latent, mask=valid, other=0.0)


@triton.jit
@no_type_check
def _decide(
    x, W, b, keys, indices, values, considered, k, width, SLOTS: tl.constexpr, DEPTH: tl.constexpr
):  # fmt: skip
    """One token: its candidates in fp32, the `k` largest of them, in order of latent."""
    token = tl.program_id(0).to(tl.int64)
    slot = tl.arange(0, SLOTS)
    key = tl.load(keys + token * SLOTS + slot, mask=slot < considered, other=0)
    latent = tl.where(key > 0, (key & LAST) ^ LAST, 0).to(tl.int32)
    pre = _one_token(x + token * width, W, b, latent, key > 0, width, SLOTS, DEPTH)
    bits = pre.to(tl.int32, bitcast=True).to(tl.int64)
    key = tl.where((key > 0) & (pre > 0), (bits << 32) | (latent ^ LAST).to(tl.int64), 0)
    key = tl.sort(key, descending=True)
    latent = tl.where(key > 0, (key & LAST) ^ LAST, 0)
    # The first k, sorted again with the latent in front; the missing ones have latent and value 0.
    ordered = tl.where(slot < k, (latent << 32) | (key >> 32), 0x7FFFFFFFFFFFFFFF)
    ordered = tl.sort(ordered)
    at = token * k + slot
    tl.store(indices + at, ordered >> 32, mask=slot < k)
    value = (ordered & LAST).to(tl.int32).to(tl.float32, bitcast=True)
    tl.store(values + at, value, mask=slot < k)
