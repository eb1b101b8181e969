"""Pre-activations tile by tile: the product of some tokens with some latents, into kept memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from monosemy.tensors import workers
from monosemy.tensors.axes import Float, Tensor
from monosemy.tensors.compiled.jit import sum_loop

# Entries of a tile: 8 MiB in float32, which stays in the caches while it is looked through.
_ENTRIES = 1 << 21
_ROWS = 1024
# Unit of rounding of bfloat16: eight significant bits, to nearest.
ROUNDING = 2.0**-8
# Standard deviations that a sum of independent rounding errors may be off before a survivor could
# be missed. By Hoeffding's inequality fewer than one entry in 30 million is so far off, and only
# an entry that close to the boundary matters.
_DEVIATIONS = 6.0


@dataclass(frozen=True, eq=False)
class Encoder:
    """``pre = W x + b``, multiplied in full precision or, as a proposal, in bfloat16.

    Attributes
    ----------
    x, W, b : in full precision, contiguous.
    proposing : tiles hold bfloat16 products (as the bits of int16), not the full ones.
    margins : for each token, how far a proposal may be from the truth:
        ``6 sqrt(2) u |x|₄ max|w|₄ + u max|b|``, with ``u`` the unit of rounding; by Cauchy and
        Schwarz ``|x|₄ |w|₄`` bounds ``sqrt(sum x_i² w_i²)``, the scale of the rounding errors'
        sum. To this comes ``u |pre|`` for the rounding of the product itself. Zero where tiles
        are exact.
    """

    x: Float[Tensor, "token width"]
    W: Float[Tensor, "latent width"]
    b: np.ndarray
    proposing: bool
    margins: np.ndarray
    factors: tuple[Tensor, Tensor]
    """What is multiplied: `x` and `W`, or their bfloat16 roundings."""

    @classmethod
    def of(cls, x: Tensor, W: Tensor, b: Tensor, propose: bool) -> Encoder:
        """Prepare a batch; `propose` counts for finite float32 only."""
        x, W, bias = x.detach().contiguous(), W.detach().contiguous(), b.detach().numpy()
        margins = np.zeros(len(x), bias.dtype)
        if not propose or x.dtype != torch.float32 or not len(x):
            return cls(x, W, bias, False, margins, (x, W))
        (low_x, sizes), (low_W, weights) = _rounded(x, "x"), _rounded(W, "W")
        if not all(np.isfinite(numbers).all() for numbers in (sizes, weights, bias)):
            # oneDNN's bfloat16 products spread NaN and infinity to rows that have none.
            return cls(x, W, bias, False, margins, (x, W))
        margins += _DEVIATIONS * 2**0.5 * ROUNDING * weights.max(initial=0) * sizes
        margins += ROUNDING * np.abs(bias).max(initial=0)
        return cls(x, W, bias, True, margins, (low_x, low_W))

    def tiles(self, start: int, stop: int) -> Iterator[tuple[int, int, np.ndarray]]:
        """First token, first latent and products, latents outside, for tokens `start` to `stop`."""
        rows = max(1, min(_ROWS, stop - start))
        columns = max(64, _ENTRIES // rows)
        x, W = self.factors
        for first in range(0, len(W), columns):
            some = W[first : first + columns].T
            for token in range(start, stop, rows):
                part = x[token : min(token + rows, stop)]
                size = len(part), some.shape[1]
                tile = workers.scratch("tile", W.dtype, size[0] * size[1]).view(size)
                torch.mm(part, some, out=tile)
                yield token, first, (tile.view(torch.int16) if self.proposing else tile).numpy()


def _rounded(rows: Tensor, place: str) -> tuple[Tensor, np.ndarray]:
    """`rows` in bfloat16 (in memory kept for the next batch), and ``|row|₄``."""
    low = workers.scratch(place, torch.bfloat16, rows.numel()).view(rows.shape)
    sizes = np.empty(len(rows), np.float32)
    arrays = rows.numpy(), low.view(torch.int16).numpy(), sizes
    shares = workers.share_out(len(rows), workers.LEAST_SHARE)
    workers.run(lambda start, stop: _round(*arrays, start, stop), shares)
    return low, sizes


@sum_loop
def _round(rows, low, sizes, start, stop):  # type: ignore[no-untyped-def]
    """To nearest, ties to even: the upper half of the bits, after half of what is cut off."""
    for index in range(start, stop):
        row, out = rows[index], low[index]
        bits = row.view(np.uint32)
        total = 0.0  # in float64: fourth powers leave the range of float32 early
        for j in range(len(row)):
            square = np.float64(row[j]) * row[j]
            total += square * square
        for j in range(len(row)):
            half = np.uint32(0x7FFF) + ((bits[j] >> np.uint32(16)) & np.uint32(1))
            out[j] = np.int16((bits[j] + half) >> np.uint32(16))
        sizes[index] = np.sqrt(np.sqrt(total))
