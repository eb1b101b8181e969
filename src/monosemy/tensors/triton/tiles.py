"""The encoder's product, tile by tile: what a tile passes on, so that no tile is ever stored."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import no_type_check

import torch
import triton
import triton.language as tl
from torch.nn.functional import pad

from monosemy.tensors.axes import Float, Tensor

LAST = tl.constexpr(0x7FFFFFFF)
"""Largest int32; latents are stored as ``latent ^ LAST``, so that of equal keys the lowest wins."""


@dataclass(frozen=True, eq=False)
class Operands:
    """What the tensor cores multiply: fp32 (read as TF32), or a bf16 copy made for this call.

    A width that is no multiple of 16 is filled up with zeros, in a copy: unaligned rows load slowly.
    """

    x: Float[Tensor, "token width"]
    W: Float[Tensor, "latent width"]
    b: Float[Tensor, "latent"]

    @classmethod
    def of(cls, x: Tensor, W: Tensor, b: Tensor, propose: bool) -> Operands:
        """In bf16 where `propose`, else as they are."""
        dtype = torch.bfloat16 if propose else torch.float32
        gap = -x.shape[1] % 16
        x, W = (pad(rows.to(dtype), (0, gap)) if gap else rows.to(dtype) for rows in (x, W))
        return cls(x.contiguous(), W.contiguous(), b.contiguous())


@dataclass(frozen=True)
class Tiling:
    """How tokens and latents are cut: sizes are powers of two, as `tl.dot` wants them."""

    tokens: int
    latents: int
    depth: int
    token_blocks: int
    tiles: int
    warps: int

    @classmethod
    def of(cls, operands: Operands) -> Tiling:
        """The largest tiles that a problem of this size fills."""
        tokens, latents = len(operands.x), len(operands.W)
        half = operands.x.dtype is torch.bfloat16
        rows = min(128, max(16, triton.next_power_of_2(tokens)))
        wide = half and latents >= 16384 and _shared_memory(operands.x.device) >= 160_000
        columns = 256 if wide else 128 if latents >= 1024 else 32
        blocks, tiles = triton.cdiv(tokens, rows), triton.cdiv(latents, columns)
        warps = 8 if rows * columns >= 128 * 128 else 4
        return cls(rows, columns, 64 if half else 32, blocks, tiles, warps)

    @property
    def programs(self) -> tuple[int]:
        """One program a tile."""
        return (self.token_blocks * self.tiles,)


def _shared_memory(device: torch.device) -> int:
    """Bytes that one program may hold: 99 KiB on consumer cards, 163 and more on others."""
    if device.type != "cuda":
        return 0
    number = torch.cuda.current_device() if device.index is None else device.index
    return triton.compiler.max_shared_mem(number)


def settings(operands: Operands, tiling: Tiling) -> dict[str, object]:
    """Launch settings that every kernel over tiles shares."""
    return {
        "TOKENS": tiling.tokens,
        "LATENTS": tiling.latents,
        "DEPTH": tiling.depth,
        # Triton 3.7's interpreter multiplies the bit patterns of bfloat16 (triton issue 11584).
        "WIDEN": os.environ.get("TRITON_INTERPRET") == "1",
        "num_warps": tiling.warps,
        "num_stages": 3,
    }


@triton.jit
@no_type_check
def place(tokens, tiles, TOKENS: tl.constexpr):
    """Token block and tile of this program; eight token blocks share a tile while it is cached."""
    number = tl.program_id(0)
    blocks = tl.cdiv(tokens, TOKENS)
    group = number // (8 * tiles)
    size = tl.minimum(blocks - group * 8, 8)
    inside = number % (8 * tiles)
    return group * 8 + inside % size, inside // size


@triton.jit
@no_type_check
def pre_activations(
    x, W, b, token, latent, tokens, latents, width,
    TOKENS: tl.constexpr, LATENTS: tl.constexpr, DEPTH: tl.constexpr, WIDEN: tl.constexpr,
):  # fmt: skip
    """``<x[token], W[latent]> + b[latent]`` of one tile; past the end, the last one again."""
    depth = tl.arange(0, DEPTH)
    # 64 bits: token * width passes 2^31 in long batches.
    row = tl.minimum(token, tokens - 1).to(tl.int64)
    column = tl.minimum(latent, latents - 1).to(tl.int64)
    x_at = x + row[:, None] * width + depth[None, :]
    W_at = W + column[:, None] * width + depth[None, :]
    total = tl.zeros([TOKENS, LATENTS], tl.float32)
    for start in range(0, width, DEPTH):
        inside = (depth < width - start)[None, :]
        left = tl.load(x_at, mask=inside, other=0.0)
        right = tl.load(W_at, mask=inside, other=0.0)
        if WIDEN:
            left, right = left.to(tl.float32), right.to(tl.float32)
        total = tl.dot(left, tl.trans(right), total, input_precision="tf32")
        x_at += DEPTH
        W_at += DEPTH
    return total + tl.load(b + column)[None, :]
