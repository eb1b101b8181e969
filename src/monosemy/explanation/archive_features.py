"""Reads what an archive holds of one feature."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from monosemy.explanation.archive_arrays import Arrays
from monosemy.explanation.archive_columns import Column
from monosemy.explanation.archive_corpus import Corpus
from monosemy.explanation.archive_records import Bars, FeatureRecord


class Features:
    """Makes the `FeatureRecord` of a feature; parts that the archive lacks are empty."""

    def __init__(
        self,
        arrays: Arrays,
        corpus: Corpus,
        columns: Mapping[str, Column],
        manifest: Mapping[str, Any],
    ):
        self._arrays = arrays
        self._corpus = corpus
        self._columns = columns
        self._features = int(manifest["counts"]["features"])
        self._flags = [flag["name"] for flag in manifest["flags"]]
        self._relations = list(manifest["relations"])

    def record(self, feature: int) -> FeatureRecord:
        """All but the examples."""
        raised, lowered = (
            self._words(f"logits.{side}_ids", f"logits.{side}_values", feature)
            for side in ("raised", "lowered")
        )
        sources = self._pairs("profile.documents", "profile.document_shares", feature, True)
        names = "profile.documents"
        return FeatureRecord(
            id=feature,
            statistics=self._statistics(feature),
            flags=self._set_flags(feature),
            histogram=self._activations(feature),
            logit_histogram=self._logits(feature),
            raised=raised,
            lowered=lowered,
            tokens=self._words("profile.token_ids", "profile.token_shares", feature, True),
            positions=[
                v if math.isfinite(v) else 0.0 for v in self._row("profile.positions", feature)
            ],
            sources=[
                (self._corpus.document(self._inside(names, i, self._corpus.documents)), share)
                for i, share in sources
            ],
            neighbours={name: self._neighbours(name, feature) for name in self._relations},
            aligned=self._pairs("aligned.neuron", "aligned.value", feature),
            parent=self._parent(feature),
            children=self.children(feature),
        )

    def children(self, feature: int) -> list[int]:
        """Features whose parent it is, rising."""
        if "parent" not in self._columns:
            return []
        return np.flatnonzero(self._arrays["column.parent"] == feature).tolist()

    def of_token(self, token: int) -> list[tuple[int, float]]:
        """Features that own a token, with the share of their activation mass on it."""
        if "tokens.first" not in self._arrays:
            return []
        start, stop = self._arrays.span("tokens.first", token, len(self._arrays["tokens.feature"]))
        found = self._arrays["tokens.feature"][start:stop]
        found = self._arrays.below("tokens.feature", found, self._features)
        shares = self._arrays["tokens.share"][start:stop]
        return list(zip(found.tolist(), shares.tolist(), strict=True))

    def _statistics(self, feature: int) -> dict[str, float | int | None]:
        found: dict[str, float | int | None] = {}
        for name in self._columns:
            if name not in ("flags", "parent"):
                value = self._arrays[f"column.{name}"][feature].item()
                found[name] = value if math.isfinite(value) else None
        return found

    def _set_flags(self, feature: int) -> list[str]:
        bits = int(self._arrays["column.flags"][feature])
        return [name for bit, name in enumerate(self._flags) if bits >> bit & 1]

    def _parent(self, feature: int) -> int | None:
        if "parent" not in self._columns:
            return None
        parent = int(self._arrays["column.parent"][feature])
        return None if parent < 0 else self._inside("column.parent", parent, self._features)

    def _activations(self, feature: int) -> Bars:
        low = (
            float(self._arrays["histogram.low"][feature]) if "histogram.low" in self._arrays else 0
        )
        high = float(self._arrays["histogram.range"][feature])
        return _bars(self._arrays["histogram.counts"][feature].tolist(), low, high, True)

    def _logits(self, feature: int) -> Bars:
        if "logits.histogram" not in self._arrays:
            return Bars([], [])
        low, high = self._arrays["logits.range"][feature].tolist()
        return _bars(self._arrays["logits.histogram"][feature].tolist(), low, high, False)

    def _neighbours(self, relation: str, feature: int) -> list[tuple[int, float]]:
        name = f"neighbours.{relation}.feature"
        pairs = self._pairs(name, f"neighbours.{relation}.value", feature)
        return [(self._inside(name, other, self._features), value) for other, value in pairs]

    def _words(
        self, ids: str, values: str, feature: int, shares: bool = False
    ) -> list[tuple[int, str, float]]:
        """Token ids of one array with their texts and the values of another."""
        return [
            (token, self._corpus.text(self._inside(ids, token, self._corpus.vocabulary)), value)
            for token, value in self._pairs(ids, values, feature, shares)
        ]

    def _row(self, name: str, feature: int) -> list[Any]:
        return self._arrays[name][feature].tolist() if name in self._arrays else []

    def _pairs(
        self, ids: str, values: str, feature: int, shares: bool = False
    ) -> list[tuple[int, float]]:
        """Filled places of two arrays of one shape: NaN is an empty one, and so is a share of 0."""
        pairs = zip(self._row(ids, feature), self._row(values, feature), strict=True)
        return [(i, v) for i, v in pairs if math.isfinite(v) and not (shares and v == 0)]

    def _inside(self, name: str, value: int, limit: int) -> int:
        if not 0 <= value < limit:
            raise self._arrays.damaged(name, f"it holds {value:,}; wanted less than {limit:,}")
        return value


def _bars(counts: list[int], low: float, high: float, trim: bool) -> Bars:
    """Equal steps from `low` to `high`; with `trim` without the empty ones at the end."""
    steps = len(counts)
    used = steps
    while trim and used and not counts[used - 1]:
        used -= 1
    if not used or not (math.isfinite(low) and math.isfinite(high) and high > low):
        return Bars([], [])
    edges = [low + (high - low) * step / steps for step in range(used + 1)]
    return Bars(edges, counts[:used])
