"""The manifest of a feature archive: what it says, and every way in which it can be wrong."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monosemy.explanation.archive_columns import COLUMNS, FLAGS, Column
from monosemy.explanation.archive_layout import (
    ARRAYS,
    DTYPES,
    LARGEST_FLAGS,
    LARGEST_INTERVALS,
    LARGEST_POSITIONS,
    LARGEST_RADIUS,
    LARGEST_SIZE,
    REQUIRED,
    bytes_of,
    file_of,
    members,
    spec_of,
)
from monosemy.foundation.errors import UserError, nearest, refuse
from monosemy.foundation.storage import read_json

FORMAT = "monosemy-archive"
VERSION = 1
MANIFEST = "archive.json"
LARGEST_MANIFEST = 16 * 2**20
_KEYS = ("counts", "tokens", "radius", "intervals", "columns", "flags", "relations", "provenance",
         "arrays")  # fmt: skip
_LISTED = ("file", "dtype", "shape", "bytes", "sha256")
_SAID = ("label", "formula", "unit", "better")
_HEXADECIMAL = frozenset("0123456789abcdef")


@dataclass(frozen=True)
class About:
    """What an archive says of itself: fixed before its first array is written."""

    tokens: int
    """Tokens that are read; 0 where that is not known."""
    provenance: Mapping[str, Any]
    """Names and hashes of model, site, dictionary and text, seed, version: plain JSON."""
    columns: tuple[Column, ...] = ()
    """Every ``column.NAME`` that will be written."""
    radius: int = 10
    """Tokens stored on either side of a peak."""
    intervals: int = 10
    """Equal parts of the way from 0 to a feature's largest activation."""
    flags: Mapping[str, str] = ()  # type: ignore[assignment]
    """Name to rule, in the order of the bits; by default `FLAGS`."""
    relations: Mapping[str, str] = ()  # type: ignore[assignment]
    """Relation of neighbours to what its value measures."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "flags", dict(self.flags or FLAGS))
        object.__setattr__(self, "relations", dict(self.relations or {}))

    def described(self) -> dict[str, Any]:
        """The manifest without ``counts`` and ``arrays``."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "tokens": self.tokens,
            "radius": self.radius,
            "intervals": self.intervals,
            "columns": {column.name: column.described() for column in self.columns},
            "flags": [{"name": name, "rule": rule} for name, rule in self.flags.items()],
            "relations": dict(self.relations),
            "provenance": dict(self.provenance),
        }


def read_manifest(folder: Path) -> tuple[dict[str, Any], str]:
    """The checked manifest of the archive in `folder`, and its hash (SHA-256 of its bytes).

    Errors
    ------
    `UserError` for no manifest, another format or version, and all faults at once otherwise.
    """
    path = folder / MANIFEST
    if path.is_file() and path.stat().st_size > LARGEST_MANIFEST:
        raise UserError(
            f"{path} has {path.stat().st_size:,} bytes; the manifest of an archive has at most "
            f"{LARGEST_MANIFEST:,}"
        )
    value = read_json(path, "the manifest of the feature archive")
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise UserError(f"{path} is not the manifest of a feature archive (format {FORMAT!r})")
    if value.get("version") != VERSION:
        raise UserError(
            f"{path} has format version {value.get('version')!r}, wanted {VERSION}; "
            "collect the archive again with this monosemy, or open it with the one that wrote it"
        )
    refuse(manifest_faults(value), str(path))
    return value, hashlib.sha256(path.read_bytes()).hexdigest()


def columns_of(manifest: Mapping[str, Any]) -> dict[str, Column]:
    """The columns of a checked manifest, known ones first in their usual order."""
    said = manifest["columns"]
    order = [name for name in COLUMNS if name in said]
    order += sorted(said.keys() - COLUMNS.keys())
    dtypes = {name: manifest["arrays"][f"column.{name}"]["dtype"] for name in order}
    return {name: Column(name, **said[name], dtype=dtypes[name]) for name in order}


def manifest_faults(value: Mapping[str, Any]) -> list[str]:
    """All that is wrong with a manifest of the right format and version."""
    if missing := [key for key in _KEYS if key not in value]:
        return [f"the manifest lacks {', '.join(missing)}; collect the archive again"]
    faults = [*_number_faults(value), *_count_faults(value["counts"]), *_word_faults(value)]
    if faults:  # shapes are judged by the counts, columns by their arrays
        return faults
    arrays = value["arrays"]
    for name in sorted(arrays):
        faults += _array_faults(name, arrays[name], value["counts"])
    return faults or [*_group_faults(arrays), *_agreement_faults(value)]


def _whole(value: Any, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high


def _number_faults(value: Mapping[str, Any]) -> list[str]:
    limits = {
        "tokens": (0, LARGEST_SIZE),
        "radius": (0, LARGEST_RADIUS),
        "intervals": (1, LARGEST_INTERVALS),
    }
    return [
        f"{key} in the manifest is {_short(value[key])}; wanted a whole number from {low} to {high}"
        for key, (low, high) in limits.items()
        if not _whole(value[key], low, high)
    ]


def _count_faults(counts: Any) -> list[str]:
    if not isinstance(counts, dict):
        return [f"counts in the manifest is {_short(counts)}; wanted sizes by axis"]
    known = set().union(*(spec.names for spec in ARRAYS.values())) | {"neighbours"}
    faults = []
    for axis, size in counts.items():
        high = LARGEST_POSITIONS if axis == "positions" else LARGEST_SIZE
        if axis not in known:
            faults.append(
                f"counts in the manifest has no axis {_short(axis)}{nearest(axis, known)}"
            )
        elif not _whole(size, 0, high):
            faults.append(
                f"counts.{axis} in the manifest is {_short(size)}; "
                f"wanted a whole number from 0 to {high}"
            )
    return faults


def _word_faults(value: Mapping[str, Any]) -> list[str]:
    """Faults of what is told in words: columns, flags, relations, provenance."""
    faults = []
    for key in ("columns", "relations", "provenance", "arrays"):
        if not isinstance(value[key], dict):
            faults.append(f"{key} in the manifest is {_short(value[key])}; wanted an object")
    if faults:
        return faults
    for name, said in value["columns"].items():
        if not _strings(said, _SAID):
            faults.append(
                f"columns.{_short(name)} in the manifest is {_short(said)}; wanted {', '.join(_SAID)}"
            )
    for name, said in value["relations"].items():
        if not isinstance(said, str):
            faults.append(f"relations.{_short(name)} in the manifest is not a sentence")
    flags = value["flags"]
    good = isinstance(flags, list) and all(_strings(flag, ("name", "rule")) for flag in flags)
    if not good or len(flags) > LARGEST_FLAGS or len({f["name"] for f in flags}) < len(flags):
        faults.append(
            f"flags in the manifest is {_short(flags)}; wanted at most {LARGEST_FLAGS} "
            "different names, each with its rule"
        )
    return faults


def _strings(value: Any, keys: tuple[str, ...]) -> bool:
    return (
        isinstance(value, dict)
        and set(value) == set(keys)
        and all(isinstance(part, str) for part in value.values())
    )


def _array_faults(name: str, listed: Any, counts: Mapping[str, int]) -> list[str]:
    spec = spec_of(name)
    if spec is None:
        known = ARRAYS.keys()
        return [f"the manifest lists {_short(name)}, which is no array of it{nearest(name, known)}"]
    if not isinstance(listed, dict) or set(listed) != set(_LISTED):
        return [f"arrays.{name} in the manifest is {_short(listed)}; wanted {', '.join(_LISTED)}"]
    if listed["file"] != file_of(name):
        return [f"{name} is said to lie in {_short(listed['file'])}; wanted {file_of(name)!r}"]
    if listed["dtype"] not in spec.dtypes or listed["dtype"] not in DTYPES:
        return [f"{name} has dtype {_short(listed['dtype'])}; wanted {' or '.join(spec.dtypes)}"]
    if lacking := sorted(spec.names - counts.keys()):
        return [f"counts in the manifest lacks {', '.join(lacking)}, which {name} needs"]
    shape = spec.shape(counts)
    if listed["shape"] != list(shape):
        wanted = " x ".join(spec.axes)
        return [f"{name} has shape {_short(listed['shape'])}; wanted {list(shape)} ({wanted})"]
    size = bytes_of(listed["dtype"], shape)
    if type(listed["bytes"]) is not int or listed["bytes"] != size:
        return [f"{name} is said to have {_short(listed['bytes'])} bytes; its shape makes {size}"]
    digest = listed["sha256"]
    if not (isinstance(digest, str) and len(digest) == 64 and set(digest) <= _HEXADECIMAL):
        return [f"{name} has SHA-256 {_short(digest)}; wanted 64 hexadecimal digits"]
    return []


def _group_faults(arrays: Mapping[str, Any]) -> list[str]:
    groups = {spec.group for spec in map(spec_of, arrays) if spec} | set(REQUIRED)
    lacking = {group: [m for m in members(group) if m not in arrays] for group in sorted(groups)}
    return [
        f"the manifest lacks {', '.join(names)}, which belongs to {group}"
        for group, names in lacking.items()
        if names
    ]


def _agreement_faults(value: Mapping[str, Any]) -> list[str]:
    arrays = value["arrays"]
    pairs = (
        (
            "columns",
            {name.removeprefix("column.") for name in arrays if name.startswith("column.")},
        ),
        ("relations", {name.split(".")[1] for name in arrays if name.startswith("neighbours.")}),
    )
    faults = []
    for key, there in pairs:
        said = set(value[key])
        for name in sorted(said - there):
            faults.append(f"{key}.{_short(name)} is described and has no array")
        for name in sorted(there - said):
            faults.append(f"{name!r} has an array and no entry under {key}")
    used = set().union(*(spec.names for spec in map(spec_of, arrays) if spec))
    unused = sorted(value["counts"].keys() - used)
    return faults + [f"counts.{axis} is the size of no array" for axis in unused]


def _short(value: Any) -> str:
    """`value` as it fits into a sentence, whatever a hostile file holds."""
    text = json.dumps(value, ensure_ascii=True, default=str)
    return text if len(text) <= 60 else text[:57] + "..."
