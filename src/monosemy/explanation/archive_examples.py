"""Reads the examples of one feature from an archive."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from monosemy.explanation.archive_arrays import Arrays
from monosemy.explanation.archive_corpus import Corpus, Piece
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
        groups_of = self._arrays["examples.group"][start:stop]
        chosen = np.arange(stop - start)
        if groups is not None:
            chosen = np.flatnonzero(np.isin(groups_of, list(groups)))
        contexts, peaks = self._places(start + chosen)
        windows = self._corpus.pieces(contexts, peaks, *self._bounds(peaks, radius))
        found = []
        for at, index in enumerate(chosen.tolist()):
            span = (int(ends[index] - nonzeros[index]), int(ends[index]))
            record = self._record(
                index, int(groups_of[index]), contexts[at], peaks[at], span, windows[at]
            )
            above = low is None or record.value >= low
            if above and (high is None or record.value <= high):
                found.append(record)
        return found

    def _places(self, rows: np.ndarray) -> tuple[list[int], list[int]]:
        """Contexts and positions of the peaks of some rows."""
        contexts, peaks = (
            self._arrays.below(name, self._arrays[name][rows], limit).tolist()
            for name, limit in (
                ("examples.context", self._corpus.contexts),
                ("examples.peak", self._corpus.length),
            )
        )
        return contexts, peaks

    def _bounds(self, peaks: list[int], radius: int | None) -> tuple[list[int], list[int]]:
        """First and one past the last position of windows inside their contexts."""
        reach = self._radius if radius is None else radius
        length = self._corpus.length
        return [max(0, p - reach) for p in peaks], [min(length, p + reach + 1) for p in peaks]

    def row(self, row: int) -> tuple[int, int, Piece]:
        """Context and position of a row's peak, and the text shown around it."""
        contexts, peaks = self._places(np.array([row]))
        pieces = self._corpus.pieces(contexts, peaks, *self._bounds(peaks, None))
        return contexts[0], peaks[0], pieces[0]

    def window_bounds(self, peaks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """First and one past the last position of the stored windows around many peaks."""
        stop = np.minimum(self._corpus.length, peaks + self._radius + 1)
        return np.maximum(0, peaks - self._radius), stop

    def _record(
        self, index: int, group: int, context: int, peak: int, span: tuple[int, int], piece: Piece
    ) -> ExampleRecord:
        base, width = self._stored_window(peak)
        places = self._arrays["examples.position"][span[0] : span[1]].tolist()
        values = self._arrays["examples.value"][span[0] : span[1]].tolist()
        start, length = piece.start, len(piece.ids)
        shown = [0.0] * length
        for place, value in zip(places, values, strict=True):
            if place >= width:
                raise self._arrays.damaged(
                    "examples.position", f"place {place} of a window of {width} tokens"
                )
            if not math.isfinite(value):
                raise self._arrays.damaged("examples.value", f"an activation is {value}")
            if 0 <= base + place - start < length:
                shown[base + place - start] = value
        value, margin = shown[peak - start], None
        if group == NEAR_MISS:
            value, margin = 0.0, value
            shown[peak - start] = 0.0
        known = (max(0, base - start), min(length, base + width - start))
        return ExampleRecord(
            index=index, group=group, context=context, document=piece.document,
            offset=piece.offset, peak=peak, start=start, ids=piece.ids,
            tokens=[self._corpus.text(i) for i in piece.ids], activations=shown, known=known,
            value=value, margin=margin,
        )  # fmt: skip

    def _stored_window(self, peak: int) -> tuple[int, int]:
        """First position of the stored window, and its width."""
        start = max(0, peak - self._radius)
        return start, min(self._corpus.length, peak + self._radius + 1) - start
