"""Logistic regression on few latents, chosen and weighed on training documents alone."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

# Strengths that inner folds choose from: the inverse weight of the penalty ``|w|² / 2`` beside the
# summed losses. Latents are measured in units of their own size.
STRENGTHS = (0.003, 1.0)


@dataclass(frozen=True, eq=False)
class Weights:
    """``score = weights · x + bias``."""

    weights: np.ndarray
    bias: float

    def scores(self, x: np.ndarray) -> np.ndarray:
        """Of each row."""
        return x @ self.weights + self.bias


def fit(x: np.ndarray, positive: np.ndarray, strength: float) -> Weights:
    """Logistic regression of `positive` on the columns of `x` (scikit-learn's).

    Rows without an active latent are all the same: they go in as two rows with weights, which is the
    same sum of losses.

    Parameters
    ----------
    x : ``[token, latent]``, of the chosen latents.
    strength : see `STRENGTHS`.
    """
    from sklearn.linear_model import LogisticRegression

    scale = np.sqrt(np.square(x, dtype=np.float64).sum(0) / np.maximum((x != 0).sum(0), 1))
    scale = np.where(scale > 0, scale, 1.0)
    active = (x != 0).any(1)
    silent = ~active
    rows = np.concatenate([x[active] / scale, np.zeros((2, x.shape[1]))])
    truth = np.concatenate([positive[active], [True, False]])
    counts = [float((silent & positive).sum()), float((silent & ~positive).sum())]
    weights = np.concatenate([np.ones(int(active.sum())), counts])
    model = LogisticRegression(C=strength, solver="newton-cholesky", max_iter=50)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # where classes are apart, weights grow until the rounds end
        model.fit(rows, truth, sample_weight=weights)
    return Weights(model.coef_[0] / scale, float(model.intercept_[0]))
