"""How many features fit into so many axes: bounds as calculators, each with its conditions.

Three questions have three answers. How many directions are *almost orthogonal*: exponentially many
(`welch`, `random_code`). How many features can be *told apart when k are active*, by the best decoder:
nearly as many (`compressed_sensing`). How many can one *linear readout* tell apart: far fewer, and that
is what a network's next layer does (`one_shot`).

Almost orthogonal means ``|cos| <= tolerance`` for every pair. Directions have length one throughout.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch

from monosemy.foundation.errors import refuse
from monosemy.tensors.axes import Float, Tensor

_STEPS = (121, 321)  # of the two integrals in `one_shot`


def capacities(directions: Float[Tensor, "feature width"]) -> Float[Tensor, "feature"]:
    """``C_i = (w_i . w_i)^2 / sum_j (w_i . w_j)^2``, the part of a dimension that a feature has.

    Their sum is at most the width, and exactly that for a tight frame. 0 for a row of zeros (Scherlis
    et al. 2022, arXiv:2210.01892; the same number as the feature dimensionality of Elhage et al.).
    """
    # sum_j (w_i . w_j)^2 is w_i F w_i of the frame operator: no matrix of all pairs.
    shared = ((directions @ (directions.T @ directions)) * directions).sum(1)
    return directions.square().sum(1).square() / shared.clamp_min(1e-30)


def mean_squared_overlap(directions: Float[Tensor, "feature width"]) -> float:
    """Mean of ``cos^2`` over pairs of different rows: ``1 / width`` for random directions."""
    unit = torch.nn.functional.normalize(directions.double(), dim=1)
    n = len(unit)
    return float(((unit.T @ unit).square().sum() - n) / (n * (n - 1)))


def largest_overlap(directions: Float[Tensor, "feature width"]) -> float:
    """The largest ``|cos|`` of two different rows."""
    unit = torch.nn.functional.normalize(directions.double(), dim=1)
    gram = (unit @ unit.T).abs()
    return float(gram.fill_diagonal_(0).max())


def welch(features: int, width: int) -> float:
    """No set of so many directions has a smaller largest ``|cos|`` (Welch 1974).

    ``sqrt((n - d) / (d (n - 1)))``, 0 where n <= d; a simplex meets it.
    """
    refuse(_misfits(features=features, width=width), "this bound")
    if features <= width:
        return 0.0
    return math.sqrt((features - width) / (width * (features - 1)))


def welch_limit(width: int, tolerance: float, orders: int = 60) -> float:
    """``log10`` of more almost orthogonal directions than any set can have; infinite without a bound.

    Welch's bound of order p over all p: ``n <= C (1 - t^2p) / (1 - C t^2p)`` with
    ``C = binomial(d + p - 1, p)``, wherever ``C t^2p < 1``.
    """
    refuse(_misfits(width=width, tolerance=tolerance), "this bound")
    best = math.inf
    for p in range(1, orders + 1):
        log_c = math.lgamma(width + p) - math.lgamma(p + 1) - math.lgamma(width)
        log_ct = log_c + 2 * p * math.log(tolerance)
        if log_ct < -1e-9:
            log_n = log_c + math.log1p(-(tolerance ** (2 * p))) - math.log1p(-math.exp(log_ct))
            best = min(best, log_n / math.log(10))
    return best


def overlap_chance(width: int, tolerance: float) -> float:
    """Natural logarithm of ``P(|cos| > tolerance)`` of two random directions.

    ``cos^2`` is Beta(1/2, (d - 1) / 2); where that underflows, its bound
    ``(1 - t^2)^((d - 1) / 2)``.
    """
    from scipy.special import betainc

    refuse(_misfits(width=width, tolerance=tolerance), "this chance")
    exact = float(betainc((width - 1) / 2, 0.5, 1 - tolerance**2))
    return math.log(exact) if exact > 1e-290 else (width - 1) / 2 * math.log1p(-(tolerance**2))


def random_code(width: int, tolerance: float, failure: float = 0.01) -> float:
    """``log10`` of how many random directions are almost orthogonal, but for a chance of `failure`.

    The most n with ``n (n - 1) / 2 * P(|cos| > t) <= failure``: a union over pairs (the argument of
    Johnson and Lindenstrauss, with the exact tail).
    """
    refuse(_misfits(width=width, tolerance=tolerance, failure=failure), "this code")
    log_pairs = math.log(2 * failure) - overlap_chance(width, tolerance)  # of n (n - 1)
    if log_pairs > 60:
        return log_pairs / 2 / math.log(10)
    n = int((1 + math.sqrt(1 + 4 * math.exp(log_pairs))) / 2)
    return math.log10(max(n, 1))


def compressed_sensing(width: int, k: int) -> float:
    """``log10`` of the features of which any k may be active and still be found, by the best decoder.

    Donoho and Tanner's weak threshold for ``n >> d``: ``d = 2 k log(n / d)``, so
    ``n = d exp(d / (2 k))`` (2009, Phil. Trans. R. Soc. A 367). An asymptotic law, not a guarantee.
    """
    refuse(_misfits(width=width, k=k), "this threshold")
    return math.log10(width) + width / (2 * k) / math.log(10)


def one_shot(features: int, width: int, k: int) -> float:
    """Chance that the k largest of ``W x`` are the k that are active, all with activation one.

    Given the length r of ``x``, a silent feature reads ``r cos`` with the exact law of a random
    cosine, and silent features read independently. Active ones read ``r^2 / k`` on average, about it
    normally with variance ``(k - 2) / d``; ``r^2`` is taken as normal about k with variance
    ``2 k (k - 1) / d``. The chance is the integral over ``r^2`` and over the smallest of the active
    readings of the chance that every silent one lies below. Within 0.06 of what is drawn at widths
    from 32 to 128.
    """
    refuse(_misfits(features=features, width=width, k=k), "this chance")
    if k >= features:
        return 1.0
    weights, logs = _readings(width, k)
    return float(min(1.0, weights @ np.exp((features - k) * logs)))


@lru_cache(maxsize=256)
def _readings(width: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights of readings, and the logarithm of the chance that one silent feature reads less."""
    from scipy.special import betainc
    from scipy.stats import norm

    z, u = (np.linspace(-end, end, steps) for end, steps in zip((6, 8), _STEPS, strict=True))
    if k == 1:
        z = u = np.zeros(1)
    squares = np.maximum(k + math.sqrt(2 * k * (k - 1) / width) * z, 0.05)[:, None]
    smallest = squares / k + math.sqrt(max(k - 2, 0) / width) * u
    cos = np.clip(smallest / np.sqrt(squares), -1, 1)
    tail = betainc((width - 1) / 2, 0.5, 1 - cos**2) / 2
    above = np.where(cos >= 0, tail, 1 - tail)
    lengths, least = norm.pdf(z), norm.pdf(u) * norm.sf(u) ** (k - 1)
    weights = np.outer(lengths / lengths.sum(), least / least.sum())
    return weights.ravel(), np.log1p(-np.minimum(above, 1 - 1e-16)).ravel()


def features_for_one_shot(width: int, k: int, success: float = 0.5) -> int:
    """The most features of which a linear readout finds all k active ones with this chance.

    0 where it does not even among k + 1; at most 10^12.
    """
    refuse(_misfits(width=width, k=k, failure=success), "this readout")
    low, high = k, k + 1
    while one_shot(high, width, k) >= success:
        low, high = high, 2 * high
        if high > 10**12:
            return 10**12
    if low == k:
        return 0
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if one_shot(middle, width, k) >= success else (low, middle)
    return low


def active_for_one_shot(features: int, width: int, success: float = 0.5) -> int:
    """The most active features that a linear readout finds, all of them, with this chance."""
    refuse(_misfits(features=features, width=width, failure=success), "this readout")
    k = 0
    while k + 1 < features and one_shot(features, width, k + 1) >= success:
        k += 1
    return k


def _misfits(
    features: int = 1, width: int = 2, k: int = 1, tolerance: float = 0.5, failure: float = 0.5
) -> list[str]:
    reasons = [f"{name} = {value:,}; wanted at least {least}"
               for name, value, least in (("features", features, 1), ("width", width, 2), ("k", k, 1))
               if value < least]  # fmt: skip
    if not 0 < tolerance < 1:
        reasons.append(f"tolerance = {tolerance}; wanted between 0 and 1")
    if not 0 < failure < 1:
        reasons.append(f"a chance of {failure}; wanted between 0 and 1")
    return reasons
