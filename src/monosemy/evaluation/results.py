"""Estimates with intervals, and tables that put them side by side.

Documents, not tokens, are what was drawn: tokens of one document resemble each other, and an
interval that ignores it is too narrow. So every sum is kept by document, a metric is a function of
summed sums, and the bootstrap draws documents.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from monosemy.evaluation.sums import Sums, Totals

RESAMPLES = 2_000
LEVEL = 0.95
# Indices drawn at once: 32 MiB.
_ENTRIES = 1 << 22
ONE_DOCUMENT = "one document: no interval can be given"


@dataclass(frozen=True)
class Estimate:
    """A number, and the interval that it lies in (95 %, bootstrap over documents).

    `value` is `None` where the number is not defined or was not measured, `low` and `high` where
    an interval is not; `note` then says why.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    note: str | None = None

    def to_json(self) -> dict[str, Any]:
        """``{value, low, high}``, and ``note`` where there is one."""
        fields = {"value": self.value, "low": self.low, "high": self.high}
        return fields if self.note is None else {**fields, "note": self.note}

    def __str__(self) -> str:
        if self.value is None:
            return "–"
        if self.low is None or self.high is None:
            return _short(self.value)
        return f"{_short(self.value)} [{_short(self.low)}, {_short(self.high)}]"


@dataclass(frozen=True)
class Metric:
    """A function of totals, NaN where it is not defined, and what to say there."""

    formula: Callable[[Totals], np.ndarray]
    undefined: str = "not defined on this text"


def estimate(sums: Sums, metrics: Mapping[str, Metric], seed: int) -> dict[str, Estimate]:
    """Each metric with its percentile bootstrap interval over documents (Efron 1979).

    The resamples are those that ``scipy.stats.bootstrap`` draws from ``default_rng(seed)``, taken
    once for all metrics: with the same seed and documents, metrics of different dictionaries are
    paired.

    Parameters
    ----------
    sums : by document, in float64.
    metrics : by name.
    seed : of the resamples.
    """
    arrays = {name: np.asarray(array, dtype=np.float64) for name, array in sums.items()}
    documents = len(next(iter(arrays.values())))
    whole = {name: array.sum(0, keepdims=True) for name, array in arrays.items()}
    if documents < 2:
        return {name: _point(metric, whole) for name, metric in metrics.items()}
    parts = [
        {name: _evaluate(metric, totals) for name, metric in metrics.items()}
        for totals in _drawn(arrays, documents, seed)
    ]
    values = {name: np.concatenate([part[name] for part in parts]) for name in metrics}
    return {name: _interval(metric, whole, values[name]) for name, metric in metrics.items()}


def _drawn(arrays: Sums, documents: int, seed: int) -> Iterator[Totals]:
    """Totals of every resample, so many at once that no sum takes more than 32 MiB."""
    largest = max(array[0].size for array in arrays.values())
    for weights in resamples(documents, seed):
        pieces = -(-len(weights) * largest // _ENTRIES)
        for piece in np.array_split(weights, min(pieces, len(weights))):
            yield _weighted(piece, arrays)


def resamples(documents: int, seed: int) -> Iterator[np.ndarray]:
    """How often each document is drawn: blocks of a ``[RESAMPLES, documents]`` matrix."""
    draw = np.random.default_rng(seed)
    step = max(1, _ENTRIES // documents)
    for start in range(0, RESAMPLES, step):
        rows = min(step, RESAMPLES - start)
        chosen = draw.integers(0, documents, (rows, documents))
        chosen += np.arange(rows)[:, None] * documents
        counts = np.bincount(chosen.ravel(), minlength=rows * documents)
        yield counts.reshape(rows, documents).astype(np.float64)


def percentiles(values: np.ndarray) -> tuple[float, float]:
    """The bounds that leave 2.5 % of the values on either side."""
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(values, [tail, 100 - tail])
    return float(low), float(high)


def _weighted(weights: np.ndarray, arrays: Sums) -> dict[str, np.ndarray]:
    return {name: np.tensordot(weights, array, 1) for name, array in arrays.items()}


def _point(metric: Metric, whole: Totals) -> Estimate:
    value = _evaluate(metric, whole)[0]
    if not math.isfinite(value):
        return Estimate(None, note=metric.undefined)
    return Estimate(float(value), note=ONE_DOCUMENT)


def _interval(metric: Metric, whole: Totals, values: np.ndarray) -> Estimate:
    point = _point(metric, whole)
    if point.value is None:
        return point
    if not np.isfinite(values).all():
        share = 1 - np.isfinite(values).mean()
        return Estimate(point.value, note=f"no interval: in {share:.1%} of the resamples "
                        f"it is undefined ({metric.undefined})")  # fmt: skip
    return Estimate(point.value, *percentiles(values))


def _evaluate(metric: Metric, totals: Totals) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return metric.formula(totals)


@dataclass(frozen=True)
class Table:
    """Metrics down, dictionaries across.

    Attributes
    ----------
    columns : what was measured: the dictionary, then its controls.
    rows : the name of a metric, and its estimate in each column (`None` where it has none).
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Estimate | None, ...]], ...]

    def lines(self) -> list[str]:
        """The table as aligned text, the names of the columns first."""
        cells = [["", *self.columns]]
        cells += [[name, *(str(e) if e else "" for e in row)] for name, row in self.rows]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        return ["  ".join(map(str.ljust, line, widths)).rstrip() for line in cells]


def table(columns: Mapping[str, Mapping[str, Estimate]]) -> Table:
    """Estimates of several dictionaries side by side, metrics in the order they first appear."""
    metrics = dict.fromkeys(name for column in columns.values() for name in column)
    rows = tuple((name, tuple(column.get(name) for column in columns.values())) for name in metrics)
    return Table(tuple(columns), rows)


def _short(value: float) -> str:
    """Four decimals, or four significant digits where the number is small or large."""
    if value and not 1e-3 <= abs(value) < 1e4:
        return f"{value:.4g}"
    return f"{value:.4f}"
