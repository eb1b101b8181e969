"""The dense baseline: least squares on whole activations, for all concepts at once."""

from __future__ import annotations

import numpy as np

from monosemy.evaluation.probing.nested import Truth
from monosemy.evaluation.probing.outcomes import Outcome
from monosemy.evaluation.probing.scoring import best_threshold, column_aucs
from monosemy.foundation.progress import SILENT, Progress

# Penalties that inner folds choose from, as shares of the mean squared activation, times tokens.
PENALTIES = (1e-4, 1e-2)


def probe_dense(x: np.ndarray, truth: Truth, progress: Progress = SILENT) -> Outcome:
    """Ridge regression of every concept on all numbers of the activation, by nested cross-validation.

    ``min_w,b  sum_t (w · (x_t - mean) + b - y_t)² + p tokens s² |w|²`` with `s²` the mean square of
    the centred numbers and `p` of `PENALTIES` chosen by inner folds, for each concept. The products
    ``X'X`` and ``X'Y`` are summed by fold once; every part is then a difference of sums. Tokens that
    are unsure have the concept's share as their ``y``, which pulls towards no weight; they are not
    tested.

    Parameters
    ----------
    x : ``[token, width]``: activations, or anything else that is dense.
    """
    folds = truth.folds
    sums = [_Sums.of(x, truth, folds.of(fold)) for fold in range(folds.count)]
    outcome = Outcome(truth.fold_of_document, truth.concepts)
    found = np.zeros((folds.count, len(PENALTIES), truth.concepts))
    parts = list(folds.parts())
    with progress.task("dense probes", len(parts), "parts") as task:
        for part in parts:
            if len(part) == 2:
                for i, penalty in enumerate(PENALTIES):
                    weights, bias = _Sums.without(sums, part).solve(penalty)
                    for fold, inner in (part, part[::-1]):
                        rows = np.flatnonzero(folds.of(inner))
                        labels = truth.labels[0][rows], truth.labels[1][rows]
                        scored = column_aucs(x[rows] @ weights + bias, labels)
                        found[fold, i] += np.nan_to_num(scored, nan=0.5)
                task.advance()
        for fold in range(folds.count):
            part_sums = _Sums.without(sums, (fold,))
            solved = [part_sums.solve(penalty) for penalty in PENALTIES]
            best = found[fold].argmax(0)
            columns = np.arange(truth.concepts)
            weights = np.stack([w for w, _ in solved])[best, :, columns].T
            bias = np.stack([b for _, b in solved])[best, columns]
            _test(x, weights, bias, truth, fold, outcome)
            task.advance()
    return outcome


def _test(
    x: np.ndarray, weights: np.ndarray, bias: np.ndarray, truth: Truth, fold: int, outcome: Outcome
) -> None:
    scores = x @ weights.astype(x.dtype) + bias.astype(x.dtype)
    inside, tested = truth.folds.inside(fold), truth.folds.of(fold)
    for concept in range(truth.concepts):
        has, sure = truth.has[:, concept], truth.sure[:, concept]
        train, test = inside & sure, tested & sure
        threshold = best_threshold(scores[train, concept], has[train])
        document = truth.folds.document[test]
        outcome.add(concept, scores[test, concept], has[test], threshold, document)


class _Sums:
    """Sums of products over some tokens, in float64."""

    def __init__(self, count: float, x: np.ndarray, y: np.ndarray, xx: np.ndarray, xy: np.ndarray):
        self.count, self.x, self.y, self.xx, self.xy = count, x, y, xx, xy

    @classmethod
    def of(cls, x: np.ndarray, truth: Truth, where: np.ndarray) -> _Sums:
        rows = x[where].astype(np.float64)
        unsure = ~truth.sure[where]
        y = truth.has[where].astype(np.float64)
        share = y.sum(0) / np.maximum((~unsure).sum(0), 1)
        y = np.where(unsure, share, y)
        return cls(len(rows), rows.sum(0), y.sum(0), rows.T @ rows, rows.T @ y)

    @classmethod
    def without(cls, sums: list[_Sums], left_out: tuple[int, ...]) -> _Sums:
        kept = [one for fold, one in enumerate(sums) if fold not in left_out]
        return cls(
            sum(one.count for one in kept), np.sum([one.x for one in kept], 0),
            np.sum([one.y for one in kept], 0), np.sum([one.xx for one in kept], 0),
            np.sum([one.xy for one in kept], 0),
        )  # fmt: skip

    def solve(self, penalty: float) -> tuple[np.ndarray, np.ndarray]:
        """Weights ``[width, concept]`` and biases."""
        mean_x, mean_y = self.x / self.count, self.y / self.count
        spread = self.xx - np.outer(self.x, mean_x)
        together = self.xy - np.outer(self.x, mean_y)
        size = max(float(np.trace(spread)) / len(spread), 1e-30)
        weights = np.linalg.solve(spread + penalty * size * np.eye(len(spread)), together)
        return weights, mean_y - mean_x @ weights
