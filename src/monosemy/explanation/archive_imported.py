"""Gathers features and examples that another tool wrote, and makes an archive of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from monosemy.explanation.archive import Archive
from monosemy.explanation.archive_columns import COLUMNS
from monosemy.explanation.archive_layout import LARGEST_RADIUS, RANDOM, TOP, smallest
from monosemy.explanation.archive_manifest import About
from monosemy.explanation.archive_writing import ArchiveWriter, pack_strings
from monosemy.foundation.errors import UserError

INTERVALS = 10
RELATIONS = {
    "decoder": "cosine of decoder rows",
    "correlation": "Pearson correlation of activations, as far as the other tool computed it",
}
_PADDING = "(padding)"
Bars = tuple[float, float, list[int]]
"""Lower end of the first step, width of a step, counts."""


@dataclass(frozen=True)
class Row:
    """One example, whole."""

    tokens: tuple[str, ...]
    values: list[float]
    peak: int
    bounds: tuple[Any, ...]
    """``binMin``, ``binMax``, ``binContains``."""
    document: str


@dataclass
class _Feature:
    largest: float = 0.0
    density: float = float("nan")
    histogram: Bars = (0.0, 0.0, [])
    logit_histogram: Bars = (0.0, 0.0, [])
    raised: list[tuple[int, float]] = field(default_factory=list)
    lowered: list[tuple[int, float]] = field(default_factory=list)
    neighbours: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    aligned: list[tuple[int, float]] = field(default_factory=list)


class Imported:
    """Takes in features and examples in any order; `write` makes the archive."""

    def __init__(self, provenance: dict[str, Any]):
        self._provenance = provenance
        self._features: dict[int, _Feature] = {}
        self._rows: dict[int, list[tuple[int, Row]]] = {}
        self._words: dict[str, int] = {"": 0}
        self._contexts: dict[tuple[str, tuple[str, ...]], int] = {}

    def add_feature(
        self,
        feature: int,
        raised: list[tuple[str, float]],
        lowered: list[tuple[str, float]],
        **known: Any,
    ) -> None:
        """Take in a feature: fields of `_Feature`, with raised and lowered tokens as texts."""
        up, down = (
            [(self._word(text), value) for text, value in pairs] for pairs in (raised, lowered)
        )
        self._features[feature] = _Feature(**known, raised=up, lowered=down)

    def add_example(self, feature: int, row: Row) -> None:
        """Take in an example of a feature."""
        for token in row.tokens:
            self._word(token)
        context = self._contexts.setdefault((row.document, row.tokens), len(self._contexts))
        self._rows.setdefault(feature, []).append((context, row))

    def _word(self, text: str) -> int:
        return self._words.setdefault(text, len(self._words))

    def write(self, out: Path) -> Archive:
        """The archive of everything taken in."""
        if not self._features or not self._rows:
            raise UserError(
                f"there is nothing to import: {len(self._features)} features and "
                f"{len(self._rows)} features with examples; wanted both"
            )
        features = max(*self._features, *self._rows) + 1
        all_of = [self._features.get(i, _Feature()) for i in range(features)]
        relations = {
            name: said
            for name, said in RELATIONS.items()
            if any(f.neighbours.get(name) for f in all_of)
        }
        about = About(
            tokens=0,
            provenance=self._provenance,
            columns=tuple(COLUMNS[name] for name in ("density", "max", "flags")),
            radius=LARGEST_RADIUS,
            intervals=INTERVALS,
            flags={"dead": "fires on no token that was read, as the other tool says"},
            relations=relations,
        )
        arrays = self._corpus() | self._examples(all_of) | _statistics(all_of)
        arrays |= _histograms(all_of) | self._tables(all_of, list(relations))
        writer = ArchiveWriter(out, about)
        for name, values in arrays.items():
            writer.put(name, values)
        return writer.finish()

    def _corpus(self) -> dict[str, np.ndarray]:
        length = max(len(tokens) for _, tokens in self._contexts)
        documents = {_PADDING: 0}
        ids = np.zeros((len(self._contexts), length), smallest(len(self._words) - 1))
        kept = np.zeros(ids.shape, dtype=bool)
        runs: list[tuple[int, int]] = []
        for context, (document, tokens) in enumerate(self._contexts):
            ids[context, : len(tokens)] = [self._words[token] for token in tokens]
            kept[context, : len(tokens)] = True
            runs.append((context * length, documents.setdefault(document, len(documents))))
            if len(tokens) < length:
                runs.append((context * length + len(tokens), 0))
        words, word_starts = pack_strings(self._words)
        names, name_starts = pack_strings(documents)
        starts = np.array(runs, dtype=np.int64)
        return {
            "corpus.ids": ids,
            "corpus.kept": np.packbits(kept, bitorder="little"),
            "corpus.run_start": starts[:, 0].astype(smallest(ids.size, "u32", "u64")),
            "corpus.run_document": starts[:, 1].astype("<u4"),
            "corpus.run_offset": np.full(len(runs), -1, dtype="<i4"),
            "corpus.names": names,
            "corpus.names_start": name_starts,
            "corpus.vocabulary": words,
            "corpus.vocabulary_start": word_starts,
        }

    def _examples(self, features: list[_Feature]) -> dict[str, np.ndarray]:
        first, first_value = [0], [0]
        rows: list[tuple[int, int, int, int]] = []
        positions: list[int] = []
        values: list[float] = []
        for number, feature in enumerate(features):
            ordered = [
                (group_of(row.bounds, feature.largest), context, row)
                for context, row in self._rows.get(number, ())
            ]
            ordered.sort(key=lambda item: _place(item[0], item[2]))
            for group, context, row in ordered:
                start = max(0, row.peak - LARGEST_RADIUS)
                window = row.values[start : row.peak + LARGEST_RADIUS + 1]
                stored = [(at, value) for at, value in enumerate(window) if value]
                positions += [at for at, _ in stored]
                values += [value for _, value in stored]
                rows.append((context, row.peak, group, len(stored)))
            first.append(len(rows))
            first_value.append(len(values))
        columns = np.array(rows, dtype=np.int64).T
        length = max(len(tokens) for _, tokens in self._contexts)
        return {
            "examples.first": np.array(first, dtype="<u8"),
            "examples.first_value": np.array(first_value, dtype="<u8"),
            "examples.context": columns[0].astype(smallest(len(self._contexts) - 1)),
            "examples.peak": columns[1].astype(smallest(length - 1, "u8", "u16")),
            "examples.group": columns[2].astype("u1"),
            "examples.nonzeros": columns[3].astype("u1"),
            "examples.position": np.array(positions, dtype="u1"),
            "examples.value": np.array(values, dtype="<f4"),
        }

    def _tables(self, features: list[_Feature], relations: list[str]) -> dict[str, np.ndarray]:
        """Raised and lowered tokens, neighbours, neurons: what the other tool had of them."""
        arrays: dict[str, np.ndarray] = {}
        words = max(len(pairs) for f in features for pairs in (f.raised, f.lowered))
        if words:
            for side in ("raised", "lowered"):
                ids, values = _padded([getattr(f, side) for f in features], words)
                arrays[f"logits.{side}_ids"] = ids.astype(smallest(len(self._words) - 1))
                arrays[f"logits.{side}_values"] = values
        inside = [
            {
                name: [(i, v) for i, v in f.neighbours.get(name, ()) if 0 <= i < len(features)]
                for name in relations
            }
            for f in features
        ]
        near = max((len(pairs) for found in inside for pairs in found.values()), default=0)
        for name in relations:
            ids, values = _padded([found[name] for found in inside], near)
            arrays[f"neighbours.{name}.feature"] = ids.astype(smallest(len(features) - 1))
            arrays[f"neighbours.{name}.value"] = values
        neurons = max(len(f.aligned) for f in features)
        if neurons:
            ids, values = _padded([f.aligned for f in features], neurons)
            arrays["aligned.neuron"] = ids.astype(smallest(int(ids.max())))
            arrays["aligned.value"] = values
        return arrays


def group_of(bounds: tuple[Any, ...], largest: float, intervals: int = INTERVALS) -> int:
    """The group of a row with these ``binMin``, ``binMax`` and ``binContains``.

    >>> group_of((-1, -1, -1), 5.0), group_of((2.0, 2.5, 0.1), 5.0), group_of((0, 5.0, 1), 5.0)
    (0, 5, 254)
    """
    low, high, contains = bounds
    if low is None or high is None or low < 0 or high <= 0 or largest <= 0:
        return TOP
    if contains == 1 and low == 0 and high >= largest:
        return RANDOM
    return min(max(round(high / largest * intervals), 1), intervals)


def _place(group: int, row: Row) -> tuple[int, float]:
    """Top, intervals from the highest to the lowest, random; falling within."""
    order = group if group in (TOP, RANDOM) else INTERVALS + 1 - group
    return order, -row.values[row.peak]


def _statistics(features: list[_Feature]) -> dict[str, np.ndarray]:
    density = np.array([f.density for f in features], dtype="<f4")
    return {
        "column.density": density,
        "column.max": np.array([f.largest for f in features], dtype="<f4"),
        "column.flags": (density == 0).astype("<u4"),
    }


def _histograms(features: list[_Feature]) -> dict[str, np.ndarray]:
    low, high, counts = _steps([f.histogram for f in features])
    arrays = {
        "histogram.counts": counts.astype("<u4"),
        "histogram.range": high.astype("<f4"),
        "histogram.low": low.astype("<f4"),
    }
    if any(f.logit_histogram[2] for f in features):
        low, high, counts = _steps([f.logit_histogram for f in features])
        arrays["logits.histogram"] = counts.astype("<u4")
        arrays["logits.range"] = np.stack([low, high], axis=1).astype("<f4")
    return arrays


def _steps(bars: Sequence[Bars]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Histograms of one number of steps: those with fewer go on, with zeros, in steps of their own."""
    steps = max(1, *(len(counts) for _, _, counts in bars))
    counts = np.zeros((len(bars), steps), dtype=np.int64)
    for place, (_, _, found) in enumerate(bars):
        counts[place, : len(found)] = found
    low = np.array([low for low, _, _ in bars])
    width = np.array([width for _, width, _ in bars])
    return low, low + width * steps, counts


def _padded(pairs: Sequence[list[tuple[int, float]]], places: int) -> tuple[np.ndarray, np.ndarray]:
    """Ids and values of a fixed number of places; an empty place has the value NaN."""
    ids = np.zeros((len(pairs), places), dtype=np.int64)
    values = np.full((len(pairs), places), np.nan, dtype="<f4")
    for place, found in enumerate(pairs):
        for at, (one, value) in enumerate(found):
            ids[place, at], values[place, at] = one, value
    return ids, values
