"""Entries in other orders: by latent, by a counting sort; and written out with their zeros."""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(cache=True, nogil=True)
def by_latent(indices: np.ndarray, latents: int) -> tuple[np.ndarray, np.ndarray]:
    """Where each latent's entries begin (and the end), and the entries, stably sorted by latent."""
    bounds = np.zeros(latents + 1, np.int64)
    for index in indices:
        bounds[index + 1] += 1
    for latent in range(latents):
        bounds[latent + 1] += bounds[latent]
    place = bounds[:-1].copy()
    order = np.empty(len(indices), np.int64)
    for entry in range(len(indices)):
        order[place[indices[entry]]] = entry
        place[indices[entry]] += 1
    return bounds, order


@numba.njit(cache=True, nogil=True)
def write_out(
    offsets: np.ndarray, indices: np.ndarray, values: np.ndarray, full: np.ndarray
) -> None:
    """Add every entry to its cell of `full`."""
    for token in range(len(offsets) - 1):
        for entry in range(offsets[token], offsets[token + 1]):
            full[token, indices[entry]] += values[entry]
