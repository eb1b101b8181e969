"""k-sparse probes by nested cross-validation over documents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from monosemy.evaluation.probing.folds import Folds, Labels
from monosemy.evaluation.probing.outcomes import Outcome
from monosemy.evaluation.probing.probes import STRENGTHS, Weights, fit
from monosemy.evaluation.probing.scoring import auc, best_threshold
from monosemy.evaluation.probing.single import ByLatent, Singles, single
from monosemy.foundation.errors import refuse
from monosemy.foundation.progress import SILENT, Progress


@dataclass(frozen=True, eq=False)
class Probes:
    """Outcomes of every k, and which latents each outer fold chose.

    Attributes
    ----------
    outcomes : by k.
    chosen : ``[fold, concept, k]`` for the largest k, best first.
    rising : ``[fold, concept]``: whether the best latent speaks for the concept (else against it).
    """

    outcomes: dict[int, Outcome]
    chosen: np.ndarray
    rising: np.ndarray


@dataclass(frozen=True, eq=False)
class Truth:
    """Labels written out, and folds."""

    labels: Labels
    folds: Folds
    has: np.ndarray
    sure: np.ndarray
    fold_of_document: np.ndarray

    @classmethod
    def of(cls, labels: Labels, folds: Folds, documents: int) -> Truth:
        """Of `documents` documents, some of which may have no token."""
        where = np.full(documents, -1)
        where[folds.document] = folds.fold
        return cls(labels, folds, labels[0].toarray() != 0, labels[1].toarray() == 0, where)

    @property
    def concepts(self) -> int:
        """How many."""
        return self.has.shape[1]


def probe(
    code: ByLatent, truth: Truth, ks: Sequence[int] = (1, 2, 5, 16), progress: Progress = SILENT
) -> Probes:
    """Probes of every concept on `k` latents each, tested on documents that nothing was chosen on.

    For each outer fold, from the other folds alone: latents are ranked by how far their AUC is from a
    half; for k = 1 the best one's activation is the score, up or down; for larger k the first k go
    into a logistic regression, whose penalty is the one of `STRENGTHS` with the largest mean AUC over
    inner folds (where latents are ranked again without the inner fold). The threshold is the one with
    the best F1 on the training part. Then the outer fold is scored, once.

    Errors
    ------
    `UserError` for a k below one.
    """
    refuse([f"k = {k}; wanted at least 1" for k in ks if k < 1], "this probing")
    folds, most = truth.folds, min(max(ks), code.latents)
    tops, firsts = dict[tuple[int, ...], np.ndarray](), dict[int, np.ndarray]()
    parts = [part for part in folds.parts() if len(part) == 1 or most > 1]
    with progress.task("rank latents", len(parts), "parts") as task:
        for part in parts:
            found = single(code, truth.labels, folds.inside(*part))
            tops[part] = found.best(most)
            if len(part) == 1:
                firsts[part[0]] = _rising(found, tops[part])
            task.advance()
    outcomes = {k: Outcome(truth.fold_of_document, truth.concepts) for k in ks}
    with progress.task("probe concepts", truth.concepts, "concepts") as task:
        for concept in range(truth.concepts):
            for fold in range(folds.count):
                _one(code, truth, concept, fold, tops, bool(firsts[fold][concept]), outcomes)
            task.advance()
    return Probes(
        outcomes,
        np.stack([tops[(fold,)] for fold in range(folds.count)]),
        np.stack([firsts[fold] for fold in range(folds.count)]),
    )


def _rising(found: Singles, top: np.ndarray) -> np.ndarray:
    """Of each concept: whether its best latent is larger where the concept is."""
    return found.auc[top[:, 0], np.arange(len(top))] >= 0.5


def _one(
    code: ByLatent, truth: Truth, concept: int, fold: int, tops: dict[tuple[int, ...], np.ndarray],
    rising: bool, outcomes: dict[int, Outcome],
) -> None:  # fmt: skip
    sure, has, folds = truth.sure[:, concept], truth.has[:, concept], truth.folds
    train, test = folds.inside(fold) & sure, folds.of(fold) & sure
    x = code.columns(tops[(fold,)][concept])
    strength = None
    for k, outcome in outcomes.items():
        k = min(k, x.shape[1])
        if k == 1:
            probe_ = Weights(np.array([1.0 if rising else -1.0]), 0.0)
        else:
            if strength is None:
                strength = _strength(code, truth, concept, fold, tops)
            probe_ = fit(x[train, :k], has[train], strength)
        threshold = best_threshold(probe_.scores(x[train, :k]), has[train])
        scores = probe_.scores(x[test, :k])
        outcome.add(concept, scores, has[test], threshold, folds.document[test])


def _strength(
    code: ByLatent, truth: Truth, concept: int, fold: int, tops: dict[tuple[int, ...], np.ndarray]
) -> float:
    """The penalty that foretells inner folds best, at the largest k."""
    sure, has, folds = truth.sure[:, concept], truth.has[:, concept], truth.folds
    found = np.zeros(len(STRENGTHS))
    for inner in range(folds.count):
        if inner == fold:
            continue
        x = code.columns(tops[(min(fold, inner), max(fold, inner))][concept])
        train, test = folds.inside(fold, inner) & sure, folds.of(inner) & sure
        for i, strength in enumerate(STRENGTHS):
            scores = fit(x[train], has[train], strength).scores(x[test])
            found[i] += auc(scores, has[test])
    return STRENGTHS[int(found.argmax())]
