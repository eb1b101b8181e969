"""The compiled loop that counts, for each latent and concept, what lies below what."""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(cache=True, nogil=True)
def auc_of_latents(
    first: int, last: int, bounds: np.ndarray, token: np.ndarray, value: np.ndarray,
    use: np.ndarray, has_at: np.ndarray, has: np.ndarray, unsure_at: np.ndarray,
    unsure: np.ndarray, tokens: int, positives: np.ndarray, unknown: np.ndarray,
    auc: np.ndarray, fired: np.ndarray,
) -> None:  # fmt: skip
    """Write rows `first` to `last` of `auc` and `fired`; see `single.single`.

    ``U = sum over tokens that have c of (lacking tokens below + half of those level with it)`` and
    ``auc = U / (positives x negatives)``. Silent tokens are all level, at zero.
    """
    concepts = auc.shape[1]
    for latent in range(first, last):
        begin, end = bounds[latent], bounds[latent + 1]
        active = below_zero = 0
        open_fired = np.zeros(concepts, dtype=np.int64)
        has_below = np.zeros(concepts, dtype=np.int64)
        open_below = np.zeros(concepts, dtype=np.int64)
        for e in range(begin, end):
            t = token[e]
            if not use[t]:
                continue
            active += 1
            negative = value[e] < 0
            if negative:
                below_zero += 1
            for i in range(has_at[t], has_at[t + 1]):
                fired[latent, has[i]] += 1
                if negative:
                    has_below[has[i]] += 1
            for i in range(unsure_at[t], unsure_at[t + 1]):
                open_fired[unsure[i]] += 1
                if negative:
                    open_below[unsure[i]] += 1
        silent_lacking = np.empty(concepts, dtype=np.float64)
        won = np.zeros(concepts, dtype=np.float64)
        for c in range(concepts):
            silent_has = positives[c] - fired[latent, c]
            silent_open = unknown[c] - open_fired[c]
            silent_lacking[c] = tokens - active - silent_has - silent_open
            under = below_zero - has_below[c] - open_below[c]
            won[c] = silent_has * (under + 0.5 * silent_lacking[c])
        passed = 0
        has_passed = np.zeros(concepts, dtype=np.int64)
        open_passed = np.zeros(concepts, dtype=np.int64)
        e = begin
        while e < end:
            stop = e
            while stop < end and value[stop] == value[e]:
                stop += 1
            above_zero = value[e] > 0
            # Everything below the group is counted before any of the group is.
            for j in range(e, stop):
                t = token[j]
                if not use[t]:
                    continue
                for i in range(has_at[t], has_at[t + 1]):
                    c = has[i]
                    won[c] += passed - has_passed[c] - open_passed[c]
                    if above_zero:
                        won[c] += silent_lacking[c]
            if stop - e > 1:
                _add_ties(e, stop, token, use, has_at, has, unsure_at, unsure, won)
            for j in range(e, stop):
                t = token[j]
                if not use[t]:
                    continue
                passed += 1
                for i in range(has_at[t], has_at[t + 1]):
                    has_passed[has[i]] += 1
                for i in range(unsure_at[t], unsure_at[t + 1]):
                    open_passed[unsure[i]] += 1
            e = stop
        for c in range(concepts):
            lacking = tokens - positives[c] - unknown[c]
            pairs = positives[c] * lacking
            auc[latent, c] = won[c] / pairs if pairs > 0 else np.nan


@numba.njit(cache=True, nogil=True)
def _add_ties(
    first: int, last: int, token: np.ndarray, use: np.ndarray, has_at: np.ndarray, has: np.ndarray,
    unsure_at: np.ndarray, unsure: np.ndarray, won: np.ndarray,
) -> None:  # fmt: skip
    """Half a win for each pair of a token that has a concept and one that lacks it, level."""
    level = 0
    has_level = np.zeros(len(won), dtype=np.int64)
    open_level = np.zeros(len(won), dtype=np.int64)
    for j in range(first, last):
        t = token[j]
        if not use[t]:
            continue
        level += 1
        for i in range(has_at[t], has_at[t + 1]):
            has_level[has[i]] += 1
        for i in range(unsure_at[t], unsure_at[t + 1]):
            open_level[unsure[i]] += 1
    for c in range(len(won)):
        won[c] += 0.5 * has_level[c] * (level - has_level[c] - open_level[c])
