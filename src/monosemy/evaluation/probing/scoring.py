"""Scores of tokens against truth: AUC, and the threshold at which F1 is best."""

from __future__ import annotations

import numpy as np

from monosemy.evaluation.probing.folds import Labels

# Steps that scores are cut into for intervals of the AUC; see `stairs`.
BINS = 24


def auc(scores: np.ndarray, positive: np.ndarray) -> float:
    """The chance that a positive's score is above a negative's, ties counted half (Mann-Whitney)."""
    won, pairs = concordance(scores, positive)
    return won / pairs if pairs else float("nan")


def concordance(scores: np.ndarray, positive: np.ndarray) -> tuple[float, float]:
    """Pairs of a positive and a negative that are in order (ties half), and all pairs."""
    values, place = np.unique(scores, return_inverse=True)
    ups = np.bincount(place[positive], minlength=len(values)).astype(np.float64)
    downs = np.bincount(place[~positive], minlength=len(values)).astype(np.float64)
    won = float((ups * (np.cumsum(downs) - 0.5 * downs)).sum())
    return won, float(ups.sum() * downs.sum())


def column_aucs(scores: np.ndarray, labels: Labels) -> np.ndarray:
    """AUC of each column of ``[token, concept]``, on tokens that are sure; NaN where there is none."""
    has, unsure = (one.toarray() for one in labels)
    return np.array([
        auc(scores[~unsure[:, c], c], has[~unsure[:, c], c]) for c in range(scores.shape[1])
    ])  # fmt: skip


def best_threshold(scores: np.ndarray, positive: np.ndarray) -> float:
    """Above which scores are to be called positive, for the largest F1 on these tokens.

    Halfway between two neighbouring scores; minus infinity where calling all of them is best.
    """
    values, place = np.unique(scores, return_inverse=True)
    ups = np.bincount(place[positive], minlength=len(values))[::-1].cumsum()
    called = np.bincount(place, minlength=len(values))[::-1].cumsum()
    f1 = 2 * ups / (called + max(int(positive.sum()), 1))
    cut = len(values) - 1 - int(f1.argmax())  # the smallest value that is still called
    if cut == 0:
        return -np.inf
    middle = (float(values[cut]) + float(values[cut - 1])) / 2
    return middle if middle < values[cut] else float(values[cut - 1])


def stairs(
    scores: np.ndarray, positive: np.ndarray, document: np.ndarray, documents: int
) -> tuple[np.ndarray, np.ndarray]:
    """``[document, step]``: positives and negatives of each document on each of `BINS` steps.

    Steps are quantiles of the positives' scores, so that positives fill them evenly. Scores on one
    step count as level. That moves an AUC by at most half the pairs that share a step: intervals take
    their width from it, and their place from the exact AUC.
    """
    cuts = np.unique(np.quantile(scores[positive], np.linspace(0, 1, BINS)[:-1]))
    step = np.searchsorted(cuts, scores, side="right")
    flat = document * BINS + step
    size = documents * BINS
    ups = np.bincount(flat[positive], minlength=size).reshape(documents, BINS)
    downs = np.bincount(flat[~positive], minlength=size).reshape(documents, BINS)
    return ups, downs
