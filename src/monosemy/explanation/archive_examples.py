"""Reads the examples of one feature from an archive."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from monosemy.explanation.archive_arrays import Arrays
from monosemy.explanation.archive_corpus import Corpus
from monosemy.explanation.archive_layout import NEAR_MISS
from monosemy.explanation.archive_records import ExampleRecord
from monosemy.foundation.errors import UserError


class Examples:
    """Reads ``examples.*``: rows by feature, and the activations stored for each row."""

    def __init__(self, arrays: Arrays, corpus: Corpus, manifest: Mapping[str, Any]):
        self._arrays = arrays
        self._corpus = corpus
        self._radius = int(manifest["radius"])
        self.rows = int(manifest["counts"]["rows"])
        self._stored = int(manifest["counts"]["stored"])

    def records(
        self,
        feature: int,
        groups: Collection[int] | None,
        low: float | None,
        high: float | None,
        radius: int | None,
    ) -> list[ExampleRecord]:
        """See `Archive.examples`."""
        if radius is not None and radius < 0:
            raise UserError(f"radius is {radius} tokens; wanted 0 or more")
        start, stop = self._arrays.span("examples.first", feature, self.rows)
        first, last = self._arrays.span("examples.first_value", feature, self._stored)
        nonzeros = self._arrays["examples.nonzeros"][start:stop].astype(np.int64)
        ends = first + np.cumsum(nonzeros)
        if (int(ends[-1]) if len(ends) else first) != last:
            raise self._arrays.damaged(
                "examples.nonzeros", f"feature {feature:,} has not as many values as are stored"
            )
        found = []
        for index, group in enumerate(self._arrays["examples.group"][start:stop].tolist()):
            if groups is not None and group not in groups:
                continue
            span = (int(ends[index] - nonzeros[index]), int(ends[index]))
            record = self._record(start + index, index, group, span, radius)
            above = low is None or record.value >= low
            if above and (high is None or record.value <= high):
                found.append(record)
        return found

    def place(self, row: int) -> tuple[int, int]:
        """Context and position of a row's peak."""
        context = self._arrays["examples.context"][row : row + 1]
        peak = self._arrays["examples.peak"][row : row + 1]
        context = self._arrays.below("examples.context", context, self._corpus.contexts)
        peak = self._arrays.below("examples.peak", peak, self._corpus.length)
        return int(context[0]), int(peak[0])

    def window(self, context: int, peak: int, radius: int | None = None) -> tuple[int, int]:
        """Positions shown around a peak: inside its context and its document."""
        reach = self._radius if radius is None else radius
        start, stop = max(0, peak - reach), min(self._corpus.length, peak + reach + 1)
        return self._corpus.within_document(context, peak, start, stop)

    def window_bounds(self, peaks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """First and one past the last position of the stored windows around many peaks."""
        stop = np.minimum(self._corpus.length, peaks + self._radius + 1)
        return np.maximum(0, peaks - self._radius), stop

    def _record(
        self, row: int, index: int, group: int, span: tuple[int, int], radius: int | None
    ) -> ExampleRecord:
        context, peak = self.place(row)
        base, width = self._stored_window(peak)
        places = self._arrays["examples.position"][span[0] : span[1]]
        places = self._arrays.below("examples.position", places, width) + base
        values = self._arrays["examples.value"][span[0] : span[1]].astype(np.float64)
        start, stop = self.window(context, peak, radius)
        shown = np.zeros(stop - start)
        inside = (places >= start) & (places < stop)
        shown[places[inside] - start] = values[inside]
        value, margin = float(shown[peak - start]), None
        if group == NEAR_MISS:
            value, margin = 0.0, value
            shown[peak - start] = 0.0
        ids = self._corpus.ids(context, start, stop)
        document, offset = self._corpus.origin(context, start, peak)
        known = (max(0, base - start), min(stop, base + width) - start)
        return ExampleRecord(
            index=index, group=group, context=context, document=document, offset=offset,
            peak=peak, start=start, ids=ids, tokens=[self._corpus.text(i) for i in ids],
            activations=shown.tolist(), known=known, value=value, margin=margin,
        )  # fmt: skip

    def _stored_window(self, peak: int) -> tuple[int, int]:
        """First position of the stored window, and its width."""
        start = max(0, peak - self._radius)
        return start, min(self._corpus.length, peak + self._radius + 1) - start
