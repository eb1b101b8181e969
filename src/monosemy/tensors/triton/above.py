"""Encode with a threshold: tiles write one bit an entry, exact values decide."""

from __future__ import annotations

from typing import no_type_check

import torch
import triton
import triton.language as tl

from monosemy.tensors.axes import Float, Tensor
from monosemy.tensors.codes import SparseCode
from monosemy.tensors.triton.entries import dots
from monosemy.tensors.triton.largest import keep_largest
from monosemy.tensors.triton.tiles import Operands, Tiling, place, pre_activations, settings


@torch.no_grad()
def keep_above(
    x: Float[Tensor, "token width"],
    W: Float[Tensor, "latent width"],
    b: Float[Tensor, "latent"],
    floor: Float[Tensor, "latent"],
    propose: bool = False,
) -> SparseCode:
    """Every ``<x[t], W[i]> + b[i]`` above ``floor[i]``, in fp32, latents ascending; NaN never.

    The tensor cores mark, one bit an entry, whatever exceeds the floor less the margin of their
    rounding (`_margins`); what is marked is computed in fp32, which decides.

    The host waits twice, since the number of entries decides how much memory they take. Memory:
    one bit a token and latent; with `propose`, also a bf16 copy of `W`.
    """
    marks = _Marks(x, W, b, floor, propose)
    return marks.code(marks.count())


@torch.no_grad()
def keep_batch(
    x: Float[Tensor, "token width"],
    W: Float[Tensor, "latent width"],
    b: Float[Tensor, "latent"],
    count: int,
    guess: float = 0.0,
    propose: bool = False,
) -> SparseCode:
    """The `count` largest strictly positive entries of the whole batch; all, if fewer are positive.

    Of equal values the lowest token and latent; NaN never. `guess`, about the smallest value that
    will be kept, decides only how long it takes: where fewer than `count` entries exceed it, or
    more than four times as many, the threshold is the `count`-th largest of every token's own
    largest, which costs a second product. The host waits, as in `keep_above`.
    """
    if guess > 0:
        marks = _Marks(x, W, b, torch.full_like(b, guess), propose)
        marked = marks.count()
        if count <= marked <= 4 * count:
            code = marks.code(marked)
            if len(code.indices) >= count:
                return _largest_of(code, count)
    floor = torch.full_like(b, _lower_bound(x, W, b, count, propose))
    return _largest_of(keep_above(x, W, b, floor, propose), count)


def _lower_bound(x: Tensor, W: Tensor, b: Tensor, count: int, propose: bool) -> float:
    """A floor that at least `count` entries exceed, or 0: no subset has a larger `count`-th."""
    if not 0 < count <= len(x) * len(W):
        return 0.0
    each = min(len(W), 2 * triton.cdiv(count, len(x)))
    code = keep_largest(x, W, b, each, propose)
    # By the kernel that will decide: a last digit more would lose the entry itself.
    values = torch.where(code.values > 0, dots(code, x, W) + b[code.indices], 0)
    smallest = values.topk(count).values[-1].clamp(min=0)
    return float(torch.nextafter(smallest, torch.zeros_like(smallest)))


def _largest_of(code: SparseCode, count: int) -> SparseCode:
    """The `count` largest entries; entries lie in order of token and latent, so ties do too."""
    best = torch.sort(code.values, descending=True, stable=True).indices[:count]
    return _subset(code, torch.sort(best).values)


def _subset(code: SparseCode, kept: Tensor) -> SparseCode:
    counts = torch.bincount(code.rows[kept], minlength=code.tokens)
    return SparseCode(_bounds(counts), code.indices[kept], code.values[kept], code.latents)


def _margins(x: Tensor, W: Tensor, propose: bool) -> tuple[Tensor, Tensor]:
    """Factors, of token and of latent, of how far the product may be from fp32.

    TF32 cuts operands off after ten bits, so the error is at most ``(2^-9 + width 2^-24) |x| |w|``
    (Cauchy-Schwarz; the second term is the sum's). bf16 rounds to nearest, ``u = 2^-8``, and its
    errors cancel: ``6 sqrt(2) u |x|_4 |w|_4`` is six deviations of them, which by Hoeffding's
    inequality fewer than one entry in 30 million exceeds.
    """
    if propose:
        x4, W4 = (torch.linalg.vector_norm(rows, 4, dim=1) for rows in (x, W))
        return 6 * 2**0.5 * 2.0**-8 * x4, W4
    return (2.0**-9 + x.shape[1] * 2.0**-24) * x.norm(dim=1), W.norm(dim=1)


def _bounds(counts: Tensor) -> Tensor:
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])


class _Marks:
    """One bit for every entry that may exceed the floor."""

    def __init__(self, x: Tensor, W: Tensor, b: Tensor, floor: Tensor, propose: bool) -> None:
        self.x, self.W, self.b, self.floor = x, W, b, floor
        operands = Operands.of(x, W, b, propose)
        tiling = Tiling.of(operands)
        self.words = tiling.tiles * tiling.latents // 32
        self.bits = torch.empty(len(x), self.words, dtype=torch.int32, device=x.device)
        counts = torch.zeros(len(x), tiling.tiles, dtype=torch.int32, device=x.device)
        if len(x) * len(W):
            with torch.cuda.device_of(x):
                _mark[tiling.programs](
                    operands.x, operands.W, operands.b, floor.contiguous(), *_margins(x, W, propose),
                    self.bits, counts, len(x), len(W), operands.x.shape[1], tiling.tiles,
                    **settings(operands, tiling),
                )  # fmt: skip
        self.bounds = _bounds(counts.sum(1))

    def count(self) -> int:
        """How many bits are set; the host waits for it."""
        return int(self.bounds[-1])

    def code(self, marked: int) -> SparseCode:
        """The marked entries that exceed the floor in fp32."""
        indices = torch.empty(marked, dtype=torch.int64, device=self.x.device)
        if marked:
            with torch.cuda.device_of(self.x):
                _list[(len(self.x),)](self.bits, self.bounds, indices, self.words, WORDS=256)
        support = SparseCode(self.bounds, indices, self.x.new_ones(marked), len(self.W))
        code = support.with_values(dots(support, self.x, self.W) + self.b[indices])
        return _subset(code, (code.values > self.floor[indices]).nonzero().flatten())


@triton.jit
@no_type_check
def _mark(
    x, W, b, floor, slack, norms, bits, counts, tokens, latents, width, tiles,
    TOKENS: tl.constexpr, LATENTS: tl.constexpr, DEPTH: tl.constexpr, WIDEN: tl.constexpr,
):  # fmt: skip
    """Bits of a tile, 32 latents a word, and how many are set on each token."""
    block, tile = place(tokens, tiles, TOKENS)
    token = block * TOKENS + tl.arange(0, TOKENS)
    latent = tile * LATENTS + tl.arange(0, LATENTS)
    pre = pre_activations(
        x, W, b, token, latent, tokens, latents, width, TOKENS, LATENTS, DEPTH, WIDEN
    )
    lowest = tl.load(floor + latent, mask=latent < latents, other=float("inf"))
    norm = tl.load(norms + latent, mask=latent < latents, other=0.0)
    doubt = tl.load(slack + token, mask=token < tokens, other=0.0)[:, None] * norm[None, :]
    above = (pre + doubt > lowest[None, :]).to(tl.int32)
    tl.store(counts + token.to(tl.int64) * tiles + tile, tl.sum(above, axis=1), mask=token < tokens)
    lanes = tl.reshape(above, [TOKENS, LATENTS // 32, 32]) << tl.arange(0, 32)[None, None, :]
    word = tile * (LATENTS // 32) + tl.arange(0, LATENTS // 32)
    at = bits + token.to(tl.int64)[:, None] * (tiles * (LATENTS // 32)) + word[None, :]
    tl.store(at, tl.sum(lanes, axis=2), mask=(token < tokens)[:, None])


@triton.jit
@no_type_check
def _list(bits, bounds, indices, words, WORDS: tl.constexpr):
    """One token: the latents whose bits are set, ascending."""
    token = tl.program_id(0).to(tl.int64)
    at = tl.load(bounds + token)
    for first in range(0, words, WORDS):
        word = first + tl.arange(0, WORDS)
        lanes = tl.load(bits + token * words + word, mask=word < words, other=0)
        size = tl.zeros([WORDS], tl.int32)
        for lane in range(32):
            size += (lanes >> lane) & 1
        here = at + tl.cumsum(size, axis=0) - size
        for lane in range(32):
            one = (lanes >> lane) & 1
            tl.store(indices + here, word * 32 + lane, mask=one > 0)
            here += one
        at += tl.sum(size, axis=0)
