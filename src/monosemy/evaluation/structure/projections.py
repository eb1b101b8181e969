"""How much of an activation's projection on a probe each latent carries, token by token."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse

from monosemy.evaluation.structure.config import AbsorptionConfig


@dataclass(frozen=True, eq=False)
class Seen:
    """What a label's probe sees of some tokens' activations and of their latents.

    Attributes
    ----------
    code : ``[token, latent]``.
    cosine : of each latent's direction with the probe.
    size : what one unit of each latent adds to the projection: its length times `cosine`.
    projection : ``x · u`` of each token, `u` the probe at length one. SAEBench projects from zero,
        so what ``b_dec · u`` holds counts as held by no latent; from `b_dec` on it does not count.
    """

    code: scipy.sparse.csr_array
    cosine: np.ndarray
    size: np.ndarray
    projection: np.ndarray


@dataclass(frozen=True, eq=False)
class Absorbed:
    """Of each token: the part that others hold, whether one holds all, and which holds most.

    Attributes
    ----------
    fraction : 0 to 1.
    full : 0 or 1.
    largest : the latent with the largest projection, -1 where none has a positive one.
    """

    fraction: np.ndarray
    full: np.ndarray
    largest: np.ndarray


def absorbed(seen: Seen, main: np.ndarray, config: AbsorptionConfig) -> Absorbed:
    """Absorption of a label by latents other than its own (`main`, the split features).

    With ``p`` the projection of the activation, ``M`` that of the main latents together and ``A``
    that of the (up to three) others that project most, of cosine at least 0.1:

    * fraction: 0 where ``M >= p`` or ``A < 0.4 p``; 1 where ``M <= 0``; else
      ``a / (a + M)`` with ``a = min(A, p - M)``;
    * full: every main latent is silent, and the latent with the largest projection has cosine at
      least 0.025 and holds at least ``0.4 p``.

    Both are 0 where ``p <= 0``. Chanin et al. 2024 (arXiv:2409.14507), as coded in SAEBench.
    """
    code, p = seen.code, seen.projection
    tokens = len(p)
    rows = np.repeat(np.arange(tokens), np.diff(code.indptr))
    latents, carried = code.indices, code.data * seen.size[code.indices]
    own = np.isin(latents, main)
    sums = np.bincount(rows[own], carried[own], tokens)
    speaks = np.zeros(tokens, dtype=bool)
    speaks[rows[own & (np.abs(code.data) >= config.silent)]] = True
    others = ~own & (seen.cosine[latents] >= config.absorber_cosine) & (carried > 0)
    helped = _largest_sums(rows[others], carried[others], tokens, config.absorbers)
    best, largest = _largest(rows, latents, carried, tokens)
    aligned = (largest >= 0) & (seen.cosine[largest] >= config.full_cosine)
    full = ~speaks & aligned & (p > 0) & (best >= config.share * p)
    return Absorbed(_fraction(p, sums, helped, config.share), full.astype(np.float64), largest)


def _fraction(p: np.ndarray, main: np.ndarray, others: np.ndarray, share: float) -> np.ndarray:
    part = np.minimum(others, p - main)
    with np.errstate(divide="ignore", invalid="ignore"):
        fraction = np.where(main <= 0, 1.0, part / (part + main))
    return np.where((p <= 0) | (main >= p) | (others < share * p), 0.0, fraction)


def _largest_sums(rows: np.ndarray, values: np.ndarray, tokens: int, count: int) -> np.ndarray:
    """The sum of each token's `count` largest values."""
    order = np.lexsort((-values, rows))
    rows, values = rows[order], values[order]
    rank = np.arange(len(rows)) - np.searchsorted(rows, rows)
    return np.bincount(rows[rank < count], values[rank < count], tokens)


def _largest(
    rows: np.ndarray, latents: np.ndarray, values: np.ndarray, tokens: int
) -> tuple[np.ndarray, np.ndarray]:
    """The largest positive value of each token and its latent; 0 and -1 where there is none."""
    positive = values > 0
    rows, latents, values = rows[positive], latents[positive], values[positive]
    order = np.lexsort((-values, rows))
    first, where = np.unique(rows[order], return_index=True)
    best, largest = np.zeros(tokens), np.full(tokens, -1)
    best[first], largest[first] = values[order][where], latents[order][where]
    return best, largest
