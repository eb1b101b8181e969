"""Folds of documents: what is tested on shares no document with what was chosen on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import scipy.sparse

from monosemy.foundation.errors import UserError

Labels = tuple[scipy.sparse.csr_array, scipy.sparse.csr_array]
"""``[token, concept]``: where a token has a concept, and where nobody can say."""


@dataclass(frozen=True, eq=False)
class Folds:
    """Which fold each token is in; all tokens of a document are in one.

    Attributes
    ----------
    document, fold : of each token.
    count : how many folds.

    Errors
    ------
    `UserError` where a document is in two folds: probes would be tested on documents that they were
    chosen on.
    """

    document: np.ndarray
    fold: np.ndarray
    count: int

    def __post_init__(self) -> None:
        pairs = np.unique(np.stack([self.document, self.fold]), axis=1)[0]
        documents, times = np.unique(pairs, return_counts=True)
        if (times > 1).any():
            raise UserError(
                f"{int((times > 1).sum()):,} of {len(documents):,} documents are in several folds, so "
                "probes would be tested on documents that they were chosen on; deal whole documents"
            )
        if self.count < 3:
            raise UserError(
                f"{self.count} folds; wanted at least 3: one to test on, two to choose on"
            )

    def inside(self, *without: int) -> np.ndarray:
        """Which tokens are in none of the folds `without`."""
        return ~np.isin(self.fold, without)

    def of(self, fold: int) -> np.ndarray:
        """Which tokens are in this fold."""
        return self.fold == fold

    def parts(self) -> Iterator[tuple[int, ...]]:
        """Folds that are left out together: each alone (outer), and each pair (inner)."""
        yield from ((one,) for one in range(self.count))
        yield from combinations(range(self.count), 2)


def deal(document: np.ndarray, count: int, seed: int) -> Folds:
    """Documents dealt to `count` folds of about equally many tokens.

    The largest first, each to the fold that has fewest tokens; documents of the same size in an
    order drawn from `seed`.

    Errors
    ------
    `UserError` for fewer documents than folds, and fewer than three folds.
    """
    names, sizes = np.unique(document, return_counts=True)
    if len(names) < count:
        raise UserError(
            f"{len(names)} documents for {count} folds; wanted at least one each: read more tokens"
        )
    drawn = np.random.default_rng(seed).permutation(len(names))
    order = drawn[np.argsort(-sizes[drawn], kind="stable")]
    full, of = np.zeros(count, dtype=np.int64), np.zeros(len(names), dtype=np.int64)
    for one in order:
        of[one] = full.argmin()
        full[of[one]] += sizes[one]
    return Folds(document, of[np.searchsorted(names, document)], count)


@dataclass(frozen=True, eq=False)
class Kept:
    """Concepts that can be judged in every fold, and how many positives the others have.

    Attributes
    ----------
    numbers : columns that stay.
    left_out : column to (fewest positives of a fold, fewest negatives of a fold, positives in all).
    """

    numbers: np.ndarray
    left_out: dict[int, tuple[int, int, int]]


def enough(labels: Labels, folds: Folds, fewest: int) -> Kept:
    """Concepts with at least `fewest` tokens that have them, and as many that lack them, a fold."""
    has, unsure = labels
    found = [
        (np.asarray(has[rows].sum(0)), len(rows) - np.asarray(unsure[rows].sum(0)))
        for rows in (np.flatnonzero(folds.of(one)) for one in range(folds.count))
    ]
    positives = np.stack([np.asarray(one).ravel() for one, _ in found])
    negatives = np.stack([np.asarray(sure).ravel() for _, sure in found]) - positives
    least = positives.min(0), negatives.min(0)
    good = (least[0] >= fewest) & (least[1] >= fewest)
    left_out = {
        int(i): (int(least[0][i]), int(least[1][i]), int(positives[:, i].sum()))
        for i in np.flatnonzero(~good)
    }
    return Kept(np.flatnonzero(good), left_out)
