"""The arrays of a feature archive, as docs/formats/archive.md says: names, types, shapes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

DTYPES: dict[str, np.dtype[Any]] = {
    "u8": np.dtype("u1"),
    "u16": np.dtype("<u2"),
    "u32": np.dtype("<u4"),
    "u64": np.dtype("<u8"),
    "i32": np.dtype("<i4"),
    "f16": np.dtype("<f2"),
    "f32": np.dtype("<f4"),
}
"""Names of the format for numpy's types, little-endian on every machine."""

TOP, RANDOM, NEAR_MISS = 0, 254, 255
"""Groups of examples; 1 up to the number of intervals lie between."""

LARGEST_SIZE = 2**40
LARGEST_POSITIONS = 2**16
LARGEST_RADIUS = 127
LARGEST_INTERVALS = 253
LARGEST_FLAGS = 32

_COLUMN = re.compile(r"column\.([a-z0-9_]{1,64})")
_NEIGHBOURS = re.compile(r"neighbours\.([a-z0-9_]{1,64})\.(feature|value)")

_IDS = ("u16", "u32")
_POINTERS = ("u32", "u64")
_NUMBERS = ("f16", "f32")


@dataclass(frozen=True)
class Spec:
    """What one array may be."""

    dtypes: tuple[str, ...]
    """Keys of `DTYPES` that are allowed."""
    axes: tuple[str, ...]
    """An axis, an axis and ``+ 1``, a number, or ``kept bytes``."""
    group: str
    """Arrays of one group are all there or all absent."""

    def shape(self, counts: Mapping[str, int]) -> tuple[int, ...]:
        """Sizes of the axes; `KeyError` for an axis that `counts` lacks."""
        return tuple(_size(axis, counts) for axis in self.axes)

    @property
    def names(self) -> set[str]:
        """The axes that it takes from the counts."""
        if self.axes == ("kept bytes",):
            return {"contexts", "positions"}
        return {axis.removesuffix(" + 1") for axis in self.axes if not axis.isdigit()}


def _size(axis: str, counts: Mapping[str, int]) -> int:
    if axis == "kept bytes":
        return -(-counts["contexts"] * counts["positions"] // 8)
    if axis.isdigit():
        return int(axis)
    return counts[axis.removesuffix(" + 1")] + axis.endswith(" + 1")


def _table(group: str, *rows: tuple[str, tuple[str, ...], tuple[str, ...]]) -> dict[str, Spec]:
    return {name: Spec(dtypes, axes, group) for name, dtypes, axes in rows}


ARRAYS: dict[str, Spec] = {
    **_table(
        "corpus",
        ("corpus.ids", _IDS, ("contexts", "positions")),
        ("corpus.kept", ("u8",), ("kept bytes",)),
        ("corpus.run_start", _POINTERS, ("runs",)),
        ("corpus.run_document", ("u32",), ("runs",)),
        ("corpus.run_offset", ("i32",), ("runs",)),
        ("corpus.names", ("u8",), ("name_bytes",)),
        ("corpus.names_start", _POINTERS, ("documents + 1",)),
        ("corpus.vocabulary", ("u8",), ("vocabulary_bytes",)),
        ("corpus.vocabulary_start", _POINTERS, ("vocabulary + 1",)),
    ),
    **_table(
        "examples",
        ("examples.first", _POINTERS, ("features + 1",)),
        ("examples.first_value", _POINTERS, ("features + 1",)),
        ("examples.context", _IDS, ("rows",)),
        ("examples.peak", ("u8", "u16"), ("rows",)),
        ("examples.group", ("u8",), ("rows",)),
        ("examples.nonzeros", ("u8",), ("rows",)),
        ("examples.position", ("u8",), ("stored",)),
        ("examples.value", _NUMBERS, ("stored",)),
    ),
    **_table(
        "columns",
        ("column.density", ("f32",), ("features",)),
        ("column.max", ("f32",), ("features",)),
        ("column.flags", ("u32",), ("features",)),
    ),
    **_table(
        "histogram",
        ("histogram.counts", ("u32",), ("features", "bins")),
        ("histogram.range", ("f32",), ("features",)),
    ),
    **_table("histogram.low", ("histogram.low", ("f32",), ("features",))),
    **_table(
        "logits.histogram",
        ("logits.histogram", _IDS, ("features", "logit_bins")),
        ("logits.range", ("f32",), ("features", "2")),
    ),
    **_table(
        "logits",
        ("logits.raised_ids", _IDS, ("features", "words")),
        ("logits.raised_values", _NUMBERS, ("features", "words")),
        ("logits.lowered_ids", _IDS, ("features", "words")),
        ("logits.lowered_values", _NUMBERS, ("features", "words")),
    ),
    **_table(
        "profile.tokens",
        ("profile.token_ids", _IDS, ("features", "top_tokens")),
        ("profile.token_shares", _NUMBERS, ("features", "top_tokens")),
    ),
    **_table("profile.positions", ("profile.positions", _NUMBERS, ("features", "parts"))),
    **_table(
        "profile.documents",
        ("profile.documents", _IDS, ("features", "top_documents")),
        ("profile.document_shares", _NUMBERS, ("features", "top_documents")),
    ),
    **_table(
        "tokens",
        ("tokens.first", _POINTERS, ("vocabulary + 1",)),
        ("tokens.feature", _IDS, ("links",)),
        ("tokens.share", _NUMBERS, ("links",)),
    ),
    **_table(
        "aligned",
        ("aligned.neuron", _IDS, ("features", "neurons")),
        ("aligned.value", _NUMBERS, ("features", "neurons")),
    ),
    **_table("map", ("map.xy", ("u16",), ("features", "2"))),
}
"""Every array whose name is fixed."""

REQUIRED = ("corpus", "examples", "columns", "histogram")
"""Groups that every archive has."""


def spec_of(name: str) -> Spec | None:
    """What the array called `name` may be; `None` for no array of the format.

    >>> spec_of("column.my_statistic").dtypes
    ('f32', 'u32', 'i32')
    >>> spec_of("column.../x") is None
    True
    """
    if name in ARRAYS:
        return ARRAYS[name]
    if _COLUMN.fullmatch(name):
        return Spec(
            ("i32",) if name == "column.parent" else ("f32", "u32", "i32"), ("features",), name
        )
    if match := _NEIGHBOURS.fullmatch(name):
        dtypes = _IDS if match[2] == "feature" else _NUMBERS
        return Spec(dtypes, ("features", "neighbours"), f"neighbours.{match[1]}")
    return None


def members(group: str) -> tuple[str, ...]:
    """The arrays of a group."""
    if group.startswith("neighbours."):
        return (f"{group}.feature", f"{group}.value")
    return tuple(name for name, spec in ARRAYS.items() if spec.group == group) or (group,)


def file_of(name: str) -> str:
    """Where an array lies in its folder.

    >>> file_of("corpus.ids")
    'arrays/corpus.ids.bin'
    """
    return f"arrays/{name}.bin"


def dtype_name(dtype: np.dtype) -> str | None:
    """The format's name for a numpy type of any byte order; `None` where it has none."""
    little = np.dtype(dtype).newbyteorder("<")
    return next((name for name, known in DTYPES.items() if known == little), None)


def smallest(limit: int, *allowed: str) -> np.dtype:
    """The first of the unsigned types `allowed` that holds `limit`; by default u16, then u32.

    >>> smallest(4096), smallest(70_000)
    (dtype('uint16'), dtype('uint32'))
    """
    for name in allowed or _IDS:
        if limit < 2 ** (8 * DTYPES[name].itemsize):
            return DTYPES[name]
    raise OverflowError(f"{limit} is too large for {', '.join(allowed or _IDS)}")


def bytes_of(dtype: str, shape: tuple[int, ...]) -> int:
    """Bytes of an array; exact whatever the size."""
    return math.prod(shape) * DTYPES[dtype].itemsize
