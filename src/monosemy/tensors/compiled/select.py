"""Encode and select: the pre-activations of a batch never exist all at once.

A worker multiplies a tile, keeps what may survive, and takes the next one into the same memory.
With ``propose`` tiles are multiplied in bfloat16 and only *propose*: whatever could still be among
the survivors is computed again in full precision, which decides.
"""

from __future__ import annotations

import numpy as np
import torch

from monosemy.tensors import workers
from monosemy.tensors.axes import Float, Tensor
from monosemy.tensors.codes import SparseCode
from monosemy.tensors.compiled import scan, sums
from monosemy.tensors.compiled.tiles import ROUNDING, Encoder
from monosemy.tensors.order import by_latent


def keep_largest(
    x: Float[Tensor, "token width"],
    W: Float[Tensor, "latent width"],
    b: Float[Tensor, "latent"],
    k: int,
    propose: bool = False,
) -> SparseCode:
    """The `k` largest positive entries of each token; of equal entries the lowest latent."""
    encoder = Encoder.of(x, W, b, propose)
    tokens, latents = len(x), len(W)
    # Proposals are kept in excess: which of them the k largest are is known only afterwards.
    limit = min(k + 3 * k // 4 + 8 if encoder.proposing else k, latents)
    room = min(4 * limit, latents) + scan.BLOCK
    found = np.empty((tokens, room), encoder.b.dtype), np.empty((tokens, room), np.int32)
    counts, floors = np.zeros(tokens, np.int64), -encoder.margins
    kept = np.empty((tokens, k), encoder.b.dtype), np.empty((tokens, k), np.int64)
    short = np.zeros(tokens, np.bool_)

    def share(start: int, stop: int) -> None:
        for token, first, tile in encoder.tiles(start, stop):
            bias = encoder.b[first : first + tile.shape[1]]
            scan.largest(tile, bias, first, token, *found, counts, floors, limit)
        if encoder.proposing:
            truth = encoder.margins, ROUNDING, encoder.x.numpy(), encoder.W.numpy(), encoder.b
            scan.decide(*found, counts, limit, k, *truth, short, start, stop)
        scan.finish(*found, counts, k, *kept, start, stop)

    workers.run(share, workers.share_out(tokens, workers.LEAST_SHARE))
    if short.any():  # the proposals ran out before it was certain
        places = short.nonzero()[0]
        again = keep_largest(x[torch.from_numpy(places)], W, b, k)
        counts[places] = again.counts.numpy()
        rows = again.rows.numpy()
        cells = places[rows], np.arange(len(rows)) - again.offsets.numpy()[rows]
        kept[0][cells], kept[1][cells] = again.values.numpy(), again.indices.numpy()
    return _from_padded(*kept, counts, latents)


def keep_above(
    x: Float[Tensor, "token width"],
    W: Float[Tensor, "latent width"],
    b: Float[Tensor, "latent"],
    floor: Float[Tensor, "latent"],
    propose: bool = False,
) -> SparseCode:
    """Entries strictly above their latent's floor."""
    encoder = Encoder.of(x, W, b, propose)
    bounds = floor.detach().numpy()
    lower = bounds * (1 - ROUNDING * np.sign(bounds)) if encoder.proposing else bounds
    values, indices, tokens = _collect(encoder, lower.astype(encoder.b.dtype))
    if encoder.proposing:
        _compute(encoder, values, indices, tokens)
        values, indices, tokens = _where(values > bounds[indices], values, indices, tokens)
    return _from_list(values, indices, tokens, len(x), len(W))


def keep_batch(
    x: Float[Tensor, "token width"],
    W: Float[Tensor, "latent width"],
    b: Float[Tensor, "latent"],
    count: int,
    guess: float = 0.0,
    propose: bool = False,
) -> SparseCode:
    """The `count` largest positive entries of the batch; of equal ones the first by token, latent.

    `guess` is a bound hoped to lie below the smallest of them: it saves time and changes nothing.
    """
    encoder = Encoder.of(x, W, b, propose)
    guess = max(guess, 0.0)
    found = _collect(encoder, np.full(len(W), guess, encoder.b.dtype), count)
    if encoder.proposing:
        if len(found[0]) > count:
            cut = _nth_largest(found[0], count)
            if np.isfinite(cut):
                margins = encoder.margins + ROUNDING * abs(cut)
                found = _where(found[0] >= cut - margins.max() - margins[found[2]], *found)
        _compute(encoder, *found)
        found = _where(found[0] > guess, *found)
    if len(found[0]) < count and guess > 0:
        return keep_batch(x, W, b, count, 0.0, propose)
    return _best(_from_list(*found, len(x), len(W)), count)


_List = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Values, latents and tokens of entries; latents ascend within a token."""


def _collect(encoder: Encoder, floor: np.ndarray, count: int | None = None) -> _List:
    """Every entry above its floor, less the margin; with `count`, as good as the largest so many."""
    shares = workers.share_out(len(encoder.x), workers.LEAST_SHARE)
    lists: dict[int, _List] = {}

    def share(start: int, stop: int) -> None:
        entries = _Growing(encoder.b.dtype)
        bound = floor.copy()
        for token, first, tile in encoder.tiles(start, stop):
            columns = slice(first, first + tile.shape[1])
            places = encoder.b[columns], first, token, bound[columns], encoder.margins
            entries.take(tile, places)
            if count and entries.filled > 4 * count:
                cut = _nth_largest(entries.lists[0], count)
                if encoder.proposing:
                    slack = 2 * (encoder.margins[start:stop].max() + ROUNDING * abs(cut))
                    cut = cut - slack if np.isfinite(slack) else 0.0
                bound[:] = max(cut, bound[0])
                # Equal ones stay: which of them come first is seen only at the end.
                entries.only(entries.lists[0] >= bound[0] - encoder.margins[entries.lists[2]])
                bound[:] = np.nextafter(bound[0], -np.inf, dtype=bound.dtype)
        values, indices, tokens = entries.lists
        order = by_latent(tokens - start, stop - start)[1]
        lists[start] = values[order], indices[order], tokens[order]

    workers.run(share, shares)
    parts = zip(*(lists[start] for start, _ in shares), strict=True)
    values, indices, tokens = (np.concatenate(part) for part in parts)
    return values, indices, tokens


class _Growing:
    """Entries of one share, in memory that doubles when it is full."""

    def __init__(self, dtype: np.dtype):
        self.filled = 0
        size = 1 << 16
        kinds = dtype, np.dtype(np.int32), np.dtype(np.int32)
        self._lists = [np.empty(size, kind) for kind in kinds]

    @property
    def lists(self) -> _List:
        """Values, latents and tokens so far."""
        values, indices, tokens = (kept[: self.filled] for kept in self._lists)
        return values, indices, tokens

    def take(self, tile: np.ndarray, places: tuple) -> None:
        """Append what lies above its floor."""
        row = 0
        while row < len(tile):
            row, self.filled = scan.above(tile, *places, *self._lists, self.filled, row)
            if row < len(tile):
                size = 2 * len(self._lists[0]) + tile.shape[1]
                self._lists = [_resized(kept, size, self.filled) for kept in self._lists]

    def only(self, chosen: np.ndarray) -> None:
        """Drop the others."""
        for kept, values in zip(self._lists, _where(chosen, *self.lists), strict=True):
            kept[: len(values)] = values
        self.filled = int(chosen.sum())


def _resized(kept: np.ndarray, size: int, filled: int) -> np.ndarray:
    larger = np.empty(size, kept.dtype)
    larger[:filled] = kept[:filled]
    return larger


def _compute(encoder: Encoder, values: np.ndarray, indices: np.ndarray, tokens: np.ndarray) -> None:
    """The truth in the place of proposals; entries come token by token."""
    code = _from_list(values, indices, tokens, len(encoder.x), len(encoder.W))
    values[:] = sums.dots(code, encoder.x, encoder.W).numpy() + encoder.b[indices]


def _nth_largest(values: np.ndarray, count: int) -> float:
    return -float(np.partition(-values, count - 1)[count - 1])


def _where(chosen: np.ndarray, *lists: np.ndarray) -> _List:
    values, indices, tokens = (kept[chosen] for kept in lists)
    return values, indices, tokens


def _best(code: SparseCode, count: int) -> SparseCode:
    """The `count` largest entries of `code`, of equal ones the first."""
    if len(code.values) <= count:
        return code
    values = code.values.numpy()
    least = _nth_largest(values, count)
    better, equal = values > least, (values == least).nonzero()[0]
    better[equal[: count - int(better.sum())]] = True
    chosen = torch.from_numpy(better)
    return _from_list(
        values[better], code.indices[chosen].numpy(), code.rows[chosen].numpy(),
        code.tokens, code.latents,
    )  # fmt: skip


def _from_list(
    values: np.ndarray, indices: np.ndarray, tokens: np.ndarray, count: int, latents: int
) -> SparseCode:
    bounds = np.concatenate([[0], np.bincount(tokens, minlength=count).cumsum()])
    listed = torch.from_numpy(indices.astype(np.int64)), torch.from_numpy(values)
    return SparseCode(torch.from_numpy(bounds), *listed, latents)


def _from_padded(
    values: np.ndarray, indices: np.ndarray, counts: np.ndarray, latents: int
) -> SparseCode:
    if (counts == values.shape[1]).all():
        bounds = np.arange(len(counts) + 1) * values.shape[1]
        values, indices = values.reshape(-1), indices.reshape(-1)
    else:
        bounds = np.concatenate([[0], counts.cumsum()])
        real = np.arange(values.shape[1]) < counts[:, None]
        values, indices = values[real], indices[real]
    listed = torch.from_numpy(indices), torch.from_numpy(values)
    return SparseCode(torch.from_numpy(bounds), *listed, latents)
