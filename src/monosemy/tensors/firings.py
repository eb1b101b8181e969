"""On which tokens each column of a sparse code fires, as sorted lists: what fires together is merged.

A table of 4,096 latents by 16,384 features, or a token-by-feature matrix, never exists.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numba
import numpy as np
import torch

from monosemy.tensors import workers
from monosemy.tensors.axes import Bool, Int, Tensor
from monosemy.tensors.codes import SparseCode

# Pairs, or rows of a table, that a thread counts at least.
_LEAST = 8


@dataclass(frozen=True, eq=False)
class Firings:
    """Which columns fire on each token, and on which tokens each column fires.

    Attributes
    ----------
    offsets : where each token's entries begin, and the end of the last.
    indices : the columns that fire, token by token; int32.
    columns : how many there are.
    """

    offsets: Int[Tensor, "bounds"]
    indices: Int[Tensor, "active"]
    columns: int

    @classmethod
    def of(cls, codes: Sequence[SparseCode]) -> Firings:
        """Of codes of one token after another; entries of value zero do not fire."""
        kept = [part if part.values.all() else part.keep(part.values != 0) for part in codes]
        indices = torch.cat([part.indices for part in kept]).int().cpu()
        counts = torch.cat([part.counts for part in kept]).cpu()
        offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        return cls(offsets, indices, codes[0].latents)

    @property
    def tokens(self) -> int:
        """How many tokens there are."""
        return len(self.offsets) - 1

    @cached_property
    def lists(self) -> tuple[Int[Tensor, "bounds"], Int[Tensor, "active"]]:
        """Where each column's tokens begin, and the tokens (int32), rising within each column."""
        found = _invert(self.offsets.numpy(), self.indices.numpy(), self.columns)
        return torch.from_numpy(found[0]), torch.from_numpy(found[1])

    @property
    def counts(self) -> Int[Tensor, "column"]:
        """On how many tokens each column fires."""
        return self.lists[0].diff()

    def counts_by_block(
        self, chosen: Int[Tensor, "chosen"], size: int
    ) -> Int[Tensor, "block chosen"]:
        """On how many of each `size` tokens the `chosen` columns fire; -1 is no column."""
        return pattern_counts([(self, chosen)], size)[1]

    def together_with(
        self, other: Firings, chosen: Int[Tensor, "chosen"]
    ) -> Int[Tensor, "chosen column"]:
        """On how many tokens each `chosen` column fires with each column of `other`."""
        out = torch.zeros(len(chosen), other.columns, dtype=torch.int32)
        bounds, tokens = (part.numpy() for part in self.lists)
        there = other.offsets.numpy(), other.indices.numpy()
        wanted, table = chosen.numpy(), out.numpy()

        def work(start: int, stop: int) -> None:
            _together(bounds, tokens, *there, wanted[start:stop], table[start:stop])

        workers.run(work, workers.share_out(len(chosen), _LEAST))
        return out


def pattern_counts(
    lists: Sequence[tuple[Firings, Int[Tensor, "tuple"]]], size: int
) -> Int[Tensor, "pattern block tuple"]:
    """How often tuples of columns fire, and which of them, in every block of `size` tokens.

    Parameters
    ----------
    lists : for each place of a tuple, whose columns it names, and the column of each tuple (-1 for
        none, which never fires). At most six places.
    size : tokens of a block; the last may have fewer.

    Returns
    -------
    Counts: pattern ``sum of 2^place over the places that fire``; the pattern 0, where none fires,
    is left 0.
    """
    tokens = lists[0][0].tokens
    count, tuples = -(-tokens // size), len(lists[0][1])
    out = np.zeros((tuples, 2 ** len(lists), count), dtype=np.int32)
    bounds = tuple(firings.lists[0].numpy() for firings, _ in lists)
    where = tuple(firings.lists[1].numpy() for firings, _ in lists)
    chosen = np.stack([columns.numpy() for _, columns in lists])

    def work(start: int, stop: int) -> None:
        _patterns(bounds, where, chosen[:, start:stop], size, out[start:stop])

    workers.run(work, workers.share_out(tuples, _LEAST))
    return torch.from_numpy(out).permute(1, 2, 0)


def firing(counts: Int[Tensor, "pattern block tuple"], *places: int) -> Int[Tensor, "block tuple"]:
    """Sums of `pattern_counts` over every pattern in which all of these places fire."""
    wanted = sum(1 << place for place in places)
    patterns = torch.arange(len(counts))
    chosen: Bool[Tensor, "pattern"] = (patterns & wanted) == wanted
    return counts[chosen].sum(0)


@numba.njit(cache=True, nogil=True)
def _invert(
    offsets: np.ndarray, indices: np.ndarray, columns: int
) -> tuple[np.ndarray, np.ndarray]:
    bounds = np.zeros(columns + 1, np.int64)
    for index in indices:
        bounds[index + 1] += 1
    for column in range(columns):
        bounds[column + 1] += bounds[column]
    place = bounds[:-1].copy()
    tokens = np.empty(len(indices), np.int32)
    for token in range(len(offsets) - 1):
        for entry in range(offsets[token], offsets[token + 1]):
            column = indices[entry]
            tokens[place[column]] = token
            place[column] += 1
    return bounds, tokens


@numba.njit(cache=True, nogil=True)
def _together(
    bounds: np.ndarray, tokens: np.ndarray, offsets: np.ndarray, indices: np.ndarray,
    chosen: np.ndarray, out: np.ndarray,
) -> None:  # fmt: skip
    # By column, so that the counts of one row stay in the cache.
    for row in range(len(chosen)):
        column = chosen[row]
        counts = out[row]
        for place in range(bounds[column], bounds[column + 1]):
            token = tokens[place]
            for entry in range(offsets[token], offsets[token + 1]):
                counts[indices[entry]] += 1


@numba.njit(cache=True, nogil=True)
def _patterns(bounds: tuple, where: tuple, chosen: np.ndarray, size: int, out: np.ndarray) -> None:
    """Merges the sorted lists of each tuple."""
    places = len(bounds)
    at, end = np.empty(places, np.int64), np.empty(places, np.int64)
    for number in range(chosen.shape[1]):
        for place in range(places):
            column = chosen[place, number]
            at[place] = bounds[place][column] if column >= 0 else 0
            end[place] = bounds[place][column + 1] if column >= 0 else 0
        while True:
            token = np.int64(2**62)
            for place in range(places):
                if at[place] < end[place] and where[place][at[place]] < token:
                    token = np.int64(where[place][at[place]])
            if token == 2**62:
                break
            pattern = 0
            for place in range(places):
                if at[place] < end[place] and where[place][at[place]] == token:
                    pattern |= 1 << place
                    at[place] += 1
            out[number, pattern, token // size] += 1
