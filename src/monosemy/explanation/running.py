"""Running summaries of sparse codes, for a whole dictionary at once, in memory that stays fixed.

Both take entries ``(latent, value, row)`` batch by batch and hold the same answer as if they had
seen all entries together.
"""

from __future__ import annotations

import numpy as np

NO_ROW = -1
"""Stands where a latent has fewer entries than places."""


class RunningTop:
    """The `keep` largest positive values of every latent, and the rows they stand at.

    At most one entry a group (a context), so that one long burst does not fill the list. Of equal
    values the earlier row stays. Memory: ``latents · keep`` values and rows.

    A group whose entries arrive in two batches can be listed twice.
    """

    def __init__(self, latents: int, keep: int):
        self.values = np.zeros((latents, keep), dtype=np.float32)
        self.rows = np.full((latents, keep), NO_ROW, dtype=np.int64)

    def add(
        self, latents: np.ndarray, values: np.ndarray, rows: np.ndarray, groups: np.ndarray
    ) -> None:
        """Take in entries; the four arrays are of one length, in any order."""
        # Most entries are below what their latent already holds; the sort sees the rest.
        entering = values > self.values[latents, -1]
        parts = (part[entering] for part in (latents, values, rows, groups))
        latents, values, rows = _first_of_group(*parts)
        touched, starts, places = np.unique(latents, return_index=True, return_inverse=True)
        ranks = np.arange(len(latents)) - starts[places]
        chosen = ranks < self.values.shape[1]
        new_values = np.zeros((len(touched), self.values.shape[1]), dtype=np.float32)
        new_rows = np.full(new_values.shape, NO_ROW, dtype=np.int64)
        new_values[places[chosen], ranks[chosen]] = values[chosen]
        new_rows[places[chosen], ranks[chosen]] = rows[chosen]
        self._merge(touched, new_values, new_rows)

    def _merge(self, touched: np.ndarray, values: np.ndarray, rows: np.ndarray) -> None:
        values = np.concatenate([self.values[touched], values], axis=1)
        rows = np.concatenate([self.rows[touched], rows], axis=1)
        best = np.argsort(-values, axis=1, kind="stable")[:, : self.values.shape[1]]
        self.values[touched] = np.take_along_axis(values, best, axis=1)
        self.rows[touched] = np.take_along_axis(rows, best, axis=1)


def _first_of_group(
    latents: np.ndarray, values: np.ndarray, rows: np.ndarray, groups: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The largest entry of each (latent, group), ordered by latent and then by falling value."""
    order = np.lexsort((rows, -values, groups, latents))
    latents, values, rows, groups = (part[order] for part in (latents, values, rows, groups))
    first = np.ones(len(order), dtype=bool)
    first[1:] = (latents[1:] != latents[:-1]) | (groups[1:] != groups[:-1])
    latents, values, rows = latents[first], values[first], rows[first]
    order = np.lexsort((rows, -values, latents))
    return latents[order], values[order], rows[order]


class RunningHistogram:
    """Exact counts of every latent's positive values in `bins` equal steps from 0 to its range.

    The range is a power of two above every value seen. When a value exceeds it, the range doubles
    and neighbouring bins are joined, so counts stay exact and at least half of the bins are in use.

    Attributes
    ----------
    counts : for each latent and bin, ``#{v : edge <= v < next edge}``.
    ranges : upper end of each latent's last bin; 0 where nothing was seen.
    """

    def __init__(self, latents: int, bins: int = 32):
        self.counts = np.zeros((latents, bins), dtype=np.int64)
        self.ranges = np.zeros(latents, dtype=np.float64)

    def add(self, latents: np.ndarray, values: np.ndarray) -> None:
        """Take in positive values; arrays of one length, in any order."""
        largest = np.zeros(len(self.ranges))
        np.maximum.at(largest, latents, values)
        self._widen(largest)
        bins = self.counts.shape[1]
        places = (values / self.ranges[latents] * bins).astype(np.int64)
        np.add.at(self.counts, (latents, places), 1)

    def _widen(self, largest: np.ndarray) -> None:
        fresh = (self.ranges == 0) & (largest > 0)
        self.ranges[fresh] = np.exp2(np.frexp(largest[fresh])[1])
        while len(tight := np.flatnonzero(largest >= np.maximum(self.ranges, 1e-300))):
            joined = self.counts[tight].reshape(len(tight), -1, 2).sum(axis=2)
            self.counts[tight] = np.concatenate([joined, np.zeros_like(joined)], axis=1)
            self.ranges[tight] *= 2
