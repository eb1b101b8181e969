"""Logistic regressions: on activations, on all latents with L1, on a few latents."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse

# Rounds of the plain probes; SAEBench gives its k-sparse ones as many.
_ROUNDS = 500
# Latents that the L1 probe begins with: those whose gradient is largest where all weights are zero.
# What it leaves out is looked at again afterwards, so this decides time only.
_SCREENED = 256
# A latent that was left out has to come in where its gradient exceeds the penalty by this share.
_SLACK = 0.05
_CALLS = 4


@dataclass(frozen=True, eq=False)
class Probe:
    """``score = weights · x + bias``; positive where the label is seen."""

    weights: np.ndarray
    bias: float

    def scores(self, x: np.ndarray) -> np.ndarray:
        """Of each row."""
        return x @ self.weights + self.bias

    @property
    def direction(self) -> np.ndarray:
        """The weights at length one."""
        return self.weights / max(float(np.linalg.norm(self.weights)), 1e-30)


def fit_probe(x: np.ndarray, positive: np.ndarray) -> Probe:
    """Logistic regression of `positive` on the rows of `x`, positives weighed as much as negatives.

    Activations are centred and brought to a typical size of one first, by one number, so that the
    weak L2 penalty (``|w|² / 2`` beside the summed losses) means the same everywhere; the result is
    in the units of `x`.
    """
    mean = x.mean(0)
    scale = typical_size(x, mean)
    found = _logistic(max_iter=_ROUNDS, class_weight="balanced")
    _quietly(found, (x - mean) / scale, positive)
    weights = found.coef_[0] / scale
    return Probe(weights, float(found.intercept_[0] - weights @ mean))


def typical_size(x: np.ndarray, mean: np.ndarray | None = None) -> float:
    """Root mean square of the numbers of `x` about the mean row."""
    centre = x.mean(0) if mean is None else mean
    variance = float(
        np.square(x, dtype=np.float64).mean() - np.square(centre, dtype=np.float64).mean()
    )
    return max(variance, 1e-24) ** 0.5


def f1(scores: np.ndarray, positive: np.ndarray) -> float:
    """``2 tp / (2 tp + fp + fn)`` of calling positive scores positive; 0 where all are called wrong."""
    called = scores > 0
    right = int((called & positive).sum())
    return 2 * right / max(int(called.sum()) + int(positive.sum()), 1)


def ranked(code: scipy.sparse.csr_array, positive: np.ndarray, l1: float) -> np.ndarray:
    """Latents that speak for the label, the one with the largest weight first.

    Weights minimise ``mean_t c_t loss(w · f_t + b, y_t) + l1 |w|_1`` with the logistic loss and
    ``c = n_negative / n_positive`` for positives, 1 for negatives (SAEBench's, whose weights come
    from 50 epochs of Adam; these are the minimum, to the solver's tolerance). Only positive weights
    are ranked; where there is none, the one latent that goes most with the label.

    The solver sees the latents whose gradient at ``w = 0`` is largest, then those whose gradient at
    the solution shows that they were left out wrongly, until none is.

    Parameters
    ----------
    code : ``[token, latent]``, in units in which `l1` is meant.
    positive : which tokens have the label.
    """
    weights = np.zeros(code.shape[1])
    cost = np.where(positive, (~positive).sum() / positive.sum(), 1.0)
    flat = cost * (positive - np.average(positive, weights=cost))
    slope = np.abs(code.T @ flat)
    chosen = np.sort(np.argsort(-slope, kind="stable")[:_SCREENED])
    chosen = chosen[slope[chosen] > 0]
    for _ in range(_CALLS):
        if not len(chosen):
            break
        weights[:] = 0
        weights[chosen], residual = _sparse_weights(code[:, chosen], positive, cost, l1)
        missed = np.abs(code.T @ residual) / len(positive) > l1 * (1 + _SLACK)
        missed[chosen] = False
        if not missed.any():
            break
        chosen = np.sort(np.concatenate([chosen, np.flatnonzero(missed)]))
    order = np.argsort(-weights, kind="stable")
    order = order[weights[order] > 0]
    return order if len(order) else np.argsort(-(code.T @ flat), kind="stable")[:1]


def _sparse_weights(
    code: scipy.sparse.csr_array, positive: np.ndarray, cost: np.ndarray, l1: float
) -> tuple[np.ndarray, np.ndarray]:
    """The L1 probe's weights, and the weighed residual ``c_t (y_t - p_t)`` of each token."""
    # liblinear penalises the bias as a weight of a constant: a large constant makes it free.
    found = _logistic(
        solver="liblinear", C=1 / (l1 * len(positive)), intercept_scaling=100.0, max_iter=200,
        random_state=0, class_weight={True: cost.max() if positive.any() else 1.0, False: 1.0},
        **_l1_penalty(),
    )  # fmt: skip
    _quietly(found, _small(code), positive)
    return found.coef_[0], cost * (positive - found.predict_proba(_small(code))[:, 1])


def fit_on_latents(
    code: scipy.sparse.csr_array, positive: np.ndarray, latents: np.ndarray
) -> Probe:
    """The k-sparse probe: balanced logistic regression on the `latents` alone."""
    found = _logistic(max_iter=_ROUNDS, class_weight="balanced")
    _quietly(found, code[:, latents].toarray(), positive)
    return Probe(found.coef_[0], float(found.intercept_[0]))


def _logistic(**settings: Any) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(**settings)


def _small(code: scipy.sparse.csr_array) -> scipy.sparse.csr_matrix:
    """With 32-bit places, the only ones that liblinear takes."""
    entries = (code.data, code.indices.astype(np.int32), code.indptr.astype(np.int32))
    return scipy.sparse.csr_matrix(entries, shape=code.shape)


def _l1_penalty() -> dict[str, Any]:
    """How this version of scikit-learn is told: the old word is deprecated from 1.8 on."""
    import sklearn

    version = tuple(int(part) for part in sklearn.__version__.split(".")[:2])
    return {"l1_ratio": 1.0} if version >= (1, 8) else {"penalty": "l1"}


def _quietly(model: Any, x: Any, y: np.ndarray) -> None:
    """Fit. A probe that has not quite settled still points where it points; its F1 is measured."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(x, y)
