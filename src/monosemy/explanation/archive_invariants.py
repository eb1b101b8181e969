"""What has to hold inside the arrays of an archive, beyond their sums."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from monosemy.explanation.archive_arrays import AGAIN, Arrays

# Numbers looked at together, so that a large archive does not fill the memory.
_BLOCK = 1 << 22


def invariant_faults(arrays: Arrays, manifest: Mapping[str, Any]) -> list[str]:
    """Sentences on pointers that fall or leave their array, ids of nothing, values out of place."""
    counts = manifest["counts"]
    faults = [*_pointers(arrays, counts), *_ids(arrays, counts)]
    return faults or [*_windows(arrays, manifest), *_runs(arrays, counts)]


def _pointers(arrays: Arrays, counts: Mapping[str, int]) -> Iterator[str]:
    into = {
        "corpus.names_start": "name_bytes",
        "corpus.vocabulary_start": "vocabulary_bytes",
        "examples.first": "rows",
        "examples.first_value": "stored",
        "tokens.first": "links",
    }
    for name, axis in into.items():
        if name not in arrays:
            continue
        found = arrays[name].astype(np.int64)
        if found[0] != 0 or found[-1] != counts[axis] or (np.diff(found) < 0).any():
            yield (
                f"{arrays.path(name)} does not begin at 0, rise, and end at {counts[axis]:,} "
                f"({axis}); {AGAIN}"
            )


def _ids(arrays: Arrays, counts: Mapping[str, int]) -> Iterator[str]:
    below = {
        "corpus.ids": "vocabulary",
        "corpus.run_document": "documents",
        "examples.context": "contexts",
        "examples.peak": "positions",
        "tokens.feature": "features",
        "column.parent": "features",
    }
    for name, axis in below.items():
        if name in arrays and (largest := _largest(arrays[name])) >= counts[axis]:
            yield f"{arrays.path(name)} holds {largest:,} of {counts[axis]:,} {axis}; {AGAIN}"
    placed = {
        "logits.raised_ids": ("logits.raised_values", "vocabulary"),
        "logits.lowered_ids": ("logits.lowered_values", "vocabulary"),
        "profile.token_ids": ("profile.token_shares", "vocabulary"),
        "profile.documents": ("profile.document_shares", "documents"),
    }
    for name in arrays.listed:
        if name.startswith("neighbours.") and name.endswith(".feature"):
            placed[name] = (name.removesuffix("feature") + "value", "features")
    for name, (values, axis) in placed.items():
        if name not in arrays:
            continue
        given = arrays[values].astype(np.float32)
        filled = ~np.isnan(given) & ((given != 0) | (axis == "features"))
        largest = _largest(arrays[name][filled])
        if largest >= counts[axis]:
            yield f"{arrays.path(name)} holds {largest:,} of {counts[axis]:,} {axis}; {AGAIN}"


def _windows(arrays: Arrays, manifest: Mapping[str, Any]) -> Iterator[str]:
    """Stored positions lie in their window and rise; the values of a feature are those of its rows."""
    nonzeros = arrays["examples.nonzeros"]
    ends = np.concatenate([[0], np.cumsum(nonzeros, dtype=np.int64)])
    if (ends[arrays["examples.first"]] != arrays["examples.first_value"]).any():
        yield f"{arrays.path('examples.nonzeros')} does not add up to examples.first_value; {AGAIN}"
        return
    radius, length = manifest["radius"], manifest["counts"]["positions"]
    rows = manifest["counts"]["rows"]
    for first in range(0, rows, _BLOCK):
        last = min(rows, first + _BLOCK)
        peak = arrays["examples.peak"][first:last].astype(np.int64)
        width = np.minimum(length, peak + radius + 1) - np.maximum(0, peak - radius)
        places = arrays["examples.position"][ends[first] : ends[last]].astype(np.int64)
        row = np.repeat(np.arange(last - first), nonzeros[first:last])
        rising = (np.diff(places) > 0) | (np.diff(row) > 0)
        if (places >= width[row]).any() or not rising.all():
            yield f"{arrays.path('examples.position')} leaves its windows or does not rise; {AGAIN}"
            return


def _runs(arrays: Arrays, counts: Mapping[str, int]) -> Iterator[str]:
    starts = arrays["corpus.run_start"].astype(np.int64)
    places = counts["contexts"] * counts["positions"]
    good = len(starts) > 0 and starts[0] == 0 and (np.diff(starts) > 0).all()
    if places and not (good and starts[-1] < places):
        yield f"{arrays.path('corpus.run_start')} does not begin at 0 and rise; {AGAIN}"


def _largest(values: np.ndarray) -> int:
    return int(values.max()) if values.size else -1
