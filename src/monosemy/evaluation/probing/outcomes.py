"""What came of probes on tested documents, by document, and the intervals that follow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from monosemy.evaluation.probing.scoring import BINS, concordance, stairs
from monosemy.evaluation.results import ONE_DOCUMENT, Estimate, percentiles, resamples

METRICS = ("auc", "f1", "accuracy")
# Resamples whose steps are summed at once.
_AT_ONCE = 100


class Outcome:
    """Gathers tested tokens, concept by concept and fold by fold; each document is tested once.

    Parameters
    ----------
    fold_of_document : the fold of each document; -1 where it has no token.
    concepts : how many.
    """

    def __init__(self, fold_of_document: np.ndarray, concepts: int):
        documents = len(fold_of_document)
        self.fold_of_document = fold_of_document
        self.won, self.pairs = np.zeros(concepts), np.zeros(concepts)
        # called and right, called and wrong, missed, rightly not called
        self.counts = np.zeros((documents, concepts, 4), dtype=np.float32)
        self.ups = np.zeros((documents, concepts, BINS), dtype=np.float32)
        self.downs = np.zeros((documents, concepts, BINS), dtype=np.float32)

    def add(
        self, concept: int, scores: np.ndarray, positive: np.ndarray, threshold: float,
        document: np.ndarray,
    ) -> None:  # fmt: skip
        """Count in the tested tokens of one fold."""
        won, pairs = concordance(scores, positive)
        self.won[concept] += won
        self.pairs[concept] += pairs
        called = scores > threshold
        kind = np.where(positive, np.where(called, 0, 2), np.where(called, 1, 3))
        documents = len(self.counts)
        flat = np.bincount(document * 4 + kind, minlength=documents * 4)
        self.counts[:, concept] += flat.reshape(documents, 4)
        ups, downs = stairs(scores, positive, document, documents)
        self.ups[:, concept] += ups
        self.downs[:, concept] += downs

    def values(self) -> dict[str, np.ndarray]:
        """Each metric of each concept. AUC compares tokens of one fold, as one probe scored them."""
        auc = np.where(self.pairs > 0, self.won / np.maximum(self.pairs, 1), np.nan)
        return {"auc": auc, **_of_counts(self.counts.astype(np.float64).sum(0)[None], 0)}

    def draws(self, seed: int) -> dict[str, np.ndarray]:
        """Each metric, ``[resample, concept]``, of documents drawn with replacement.

        With the same seed and documents, the draws of different dictionaries are paired. AUCs are
        those of `BINS` steps, moved so that the whole has its exact value; see `scoring.stairs`.
        """
        there = np.flatnonzero(self.fold_of_document >= 0)
        found: dict[str, list[np.ndarray]] = {name: [] for name in METRICS}
        for block in resamples(len(there), seed):
            for start in range(0, len(block), _AT_ONCE):
                weights = block[start : start + _AT_ONCE].astype(np.float32)
                found["auc"].append(self._stepped(weights, there))
                counts = np.tensordot(weights, self.counts[there], 1)
                for name, values in _of_counts(counts.astype(np.float64), slice(None)).items():
                    found[name].append(values)
        drawn = {name: np.concatenate(parts) for name, parts in found.items()}
        exact = self.values()["auc"]
        whole = self._stepped(np.ones((1, len(there)), dtype=np.float32), there)[0]
        drawn["auc"] = drawn["auc"] + (exact - whole)
        return drawn

    def _stepped(self, weights: np.ndarray, there: np.ndarray) -> np.ndarray:
        folds = self.fold_of_document[there]
        concepts = len(self.won)
        won, pairs = np.zeros((len(weights), concepts)), np.zeros((len(weights), concepts))
        for fold in np.unique(folds):
            of = folds == fold
            ups = np.tensordot(weights[:, of], self.ups[there[of]], 1)
            downs = np.tensordot(weights[:, of], self.downs[there[of]], 1)
            below = downs.cumsum(-1) - 0.5 * downs
            won += (ups.astype(np.float64) * below).sum(-1)
            pairs += ups.sum(-1, dtype=np.float64) * downs.sum(-1, dtype=np.float64)
        return np.where(pairs > 0, won / np.maximum(pairs, 1), np.nan)


def _of_counts(counts: np.ndarray, which: int | slice) -> dict[str, np.ndarray]:
    right, wrong, missed, rest = np.moveaxis(counts, -1, 0)
    f1 = 2 * right / np.maximum(2 * right + wrong + missed, 1)
    accuracy = (right + rest) / np.maximum(right + wrong + missed + rest, 1)
    return {"f1": f1[which], "accuracy": accuracy[which]}


@dataclass(frozen=True, eq=False)
class Measured:
    """Values of every concept, and their draws."""

    values: Mapping[str, np.ndarray]
    draws: Mapping[str, np.ndarray]

    @classmethod
    def of(cls, outcome: Outcome, seed: int) -> Measured:
        """Of what was gathered."""
        return cls(outcome.values(), outcome.draws(seed))

    def of_concept(self, concept: int) -> dict[str, Estimate]:
        """Each metric of one concept, with its interval."""
        return {
            name: interval(float(self.values[name][concept]), self.draws[name][:, concept])
            for name in METRICS
        }

    def mean(self, concepts: np.ndarray) -> dict[str, Estimate]:
        """Each metric, averaged over `concepts`, with its interval."""
        return dict(self._means(concepts))

    def _means(self, concepts: np.ndarray) -> Iterator[tuple[str, Estimate]]:
        for name in METRICS:
            drawn = np.nanmean(self.draws[name][:, concepts], 1)
            yield name, interval(float(np.nanmean(self.values[name][concepts])), drawn)

    def above(self, other: Measured, concepts: np.ndarray) -> dict[str, Estimate]:
        """Mean over `concepts` of this less the other's, paired by document."""
        return {
            name: interval(
                float(np.nanmean(self.values[name][concepts] - other.values[name][concepts])),
                np.nanmean(self.draws[name][:, concepts] - other.draws[name][:, concepts], 1),
            )
            for name in METRICS
        }


def interval(value: float, drawn: np.ndarray) -> Estimate:
    """95 % of the draws lie inside; draws in which nothing is defined are left out."""
    good = drawn[np.isfinite(drawn)]
    if not np.isfinite(value):
        return Estimate(None, note="no token has the concept, or none lacks it")
    if len(good) < 2 or len(good) < 0.5 * len(drawn):
        return Estimate(value, note=ONE_DOCUMENT)
    return Estimate(value, *percentiles(good))
