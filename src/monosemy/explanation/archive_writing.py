"""Writes a feature archive, array by array; a killed writer goes on where it stopped."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from monosemy.explanation.archive import NOTES, Archive
from monosemy.explanation.archive_layout import (
    DTYPES,
    Spec,
    bytes_of,
    dtype_name,
    file_of,
    spec_of,
)
from monosemy.explanation.archive_manifest import MANIFEST, About, manifest_faults
from monosemy.foundation.errors import UserError, refuse
from monosemy.foundation.storage import read_json, sha256, write_json

UNFINISHED = "unfinished.json"


class ArchiveWriter:
    """Begins the archive in `folder`, or goes on with one of the same `about`.

    Use: `put` or `stream` every array, then `finish`. Arrays that an earlier process wrote whole are
    ``in`` the writer and need not be worked out again.

    Errors
    ------
    `UserError` where the folder holds a whole archive, an unfinished one of another `about` (all
    differences are named), or other files.
    """

    def __init__(self, folder: str | Path, about: About):
        self.folder = Path(folder)
        self.about = about
        self._listed: dict[str, dict[str, Any]] = {}
        self._begin()
        (self.folder / "arrays").mkdir(parents=True, exist_ok=True)
        for path in (self.folder / "arrays").glob(".*"):  # what a killed process was writing
            path.unlink()
        self._save()

    def __contains__(self, name: str) -> bool:
        """Whether the array is whole."""
        return name in self._listed

    def put(self, name: str, values: np.ndarray) -> None:
        """Write one array.

        Parameters
        ----------
        name : as the format has it, ``column.max``.
        values : of a dtype that the format allows for it, any byte order. Floating numbers are
            finite, but for columns and for places that are empty (NaN).

        Errors
        ------
        `UserError` for an unknown name, a dtype that is not allowed, and infinite values.
        """
        values = np.asarray(values)
        with self.stream(name, values.dtype, values.shape) as write:
            write(values)

    @contextmanager
    def stream(self, name: str, dtype: np.dtype, shape: tuple[int, ...]) -> Iterator[Any]:
        """Write one array in parts: yields a function that takes the next numbers, in C order.

        The array is listed when the block ends and all its numbers have come; else nothing of it
        stays.
        """
        spec, kind = _allowed(name, np.dtype(dtype), tuple(shape))
        path = self.folder / file_of(name)
        temporary = path.with_name(f".{path.name}")
        digest, wanted = hashlib.sha256(), bytes_of(kind, tuple(shape))
        size = 0
        with open(temporary, "wb") as file:

            def write(part: np.ndarray) -> None:
                nonlocal size
                data = _checked(name, part, DTYPES[kind])
                file.write(data)
                digest.update(data)
                size += len(data)

            try:
                yield write
                if size != wanted:
                    raise UserError(
                        f"{name} got {size:,} bytes; its shape {list(shape)} makes {wanted:,}"
                    )
                file.flush()
                os.fsync(file.fileno())
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
        os.replace(temporary, path)
        self._listed[name] = {
            "file": file_of(name),
            "dtype": kind,
            "shape": list(map(int, shape)),
            "bytes": size,
            "sha256": digest.hexdigest(),
        }
        self._save()

    def finish(self) -> Archive:
        """Write the manifest and open the archive; `UserError` names all that is not there yet."""
        manifest = self._manifest()
        refuse(manifest_faults(manifest), f"the archive in {self.folder}")
        write_json(self.folder / MANIFEST, manifest)
        (self.folder / UNFINISHED).unlink()
        return Archive.open(self.folder)

    def _manifest(self) -> dict[str, Any]:
        described = self.about.described()
        head = {"format": described.pop("format"), "version": described.pop("version")}
        arrays = dict(sorted(self._listed.items()))
        return {**head, "counts": _counts(arrays), **described, "arrays": arrays}

    def _begin(self) -> None:
        if (self.folder / MANIFEST).exists():
            raise UserError(
                f"{self.folder} holds a whole archive already; name another folder, or remove it"
            )
        if (self.folder / UNFINISHED).exists():
            self._go_on()
            return
        known = {"arrays", NOTES, f"{NOTES}-wal", f"{NOTES}-shm"}
        there = sorted(p.name for p in self.folder.glob("*")) if self.folder.exists() else []
        if strangers := [name for name in there if name not in known]:
            raise UserError(
                f"{self.folder} holds other files ({', '.join(strangers[:3])}); "
                "name a new or empty folder"
            )

    def _go_on(self) -> None:
        path = self.folder / UNFINISHED
        found = read_json(path, "the record of an unfinished archive")
        if not isinstance(found, dict) or not {"about", "arrays"} <= found.keys():
            raise UserError(f"{path} is not the record of an unfinished archive; remove the folder")
        now = self.about.described()
        different = [
            f"{key} is {found['about'].get(key)!r} in {self.folder} and {value!r} now; "
            "give the same settings, or another folder"
            for key, value in now.items()
            if found["about"].get(key) != value
        ]
        refuse(different, f"the unfinished archive in {self.folder}")
        self._listed = {
            name: entry for name, entry in found["arrays"].items() if self._whole(name, entry)
        }

    def _whole(self, name: str, entry: Mapping[str, Any]) -> bool:
        path = self.folder / file_of(name)
        if spec_of(name) is None or not path.is_file() or path.stat().st_size != entry["bytes"]:
            return False
        return sha256(path) == entry["sha256"]

    def _save(self) -> None:
        value = {"about": self.about.described(), "arrays": dict(sorted(self._listed.items()))}
        write_json(self.folder / UNFINISHED, value)


def pack_strings(strings: Iterable[str]) -> tuple[np.ndarray, np.ndarray]:
    """UTF-8 bytes of all strings, one behind the other, and where each begins (one more: the end)."""
    parts = [text.encode("utf-8", errors="replace") for text in strings]
    starts = np.zeros(len(parts) + 1, dtype="<u4" if sum(map(len, parts)) < 2**32 else "<u8")
    np.cumsum([len(part) for part in parts], out=starts[1:])
    return np.frombuffer(b"".join(parts), dtype="u1"), starts


def _allowed(name: str, dtype: np.dtype, shape: tuple[int, ...]) -> tuple[Spec, str]:
    spec = spec_of(name)
    if spec is None:
        raise UserError(f"{name!r} is no array of an archive; see docs/formats/archive.md")
    kind = dtype_name(dtype)
    if kind not in spec.dtypes:
        raise UserError(f"{name} came as {dtype}; wanted {' or '.join(spec.dtypes)}")
    if len(shape) != len(spec.axes):
        raise UserError(f"{name} came with shape {shape}; wanted {' x '.join(spec.axes)}")
    return spec, kind


def _checked(name: str, part: np.ndarray, dtype: np.dtype) -> bytes:
    part = np.asarray(part)
    if part.dtype.newbyteorder("<") != dtype:
        raise UserError(f"a part of {name} came as {part.dtype}; wanted {dtype}")
    # NaN marks an empty place; what is stored of an example, and infinity anywhere, is a mistake.
    if part.dtype.kind == "f":
        bad = ~np.isfinite(part) if name == "examples.value" else np.isinf(part)
        if bad.any():
            raise UserError(
                f"{name} has {int(bad.sum()):,} numbers that are not finite; "
                "where f16 is too narrow, give f32"
            )
    return np.ascontiguousarray(part, dtype=dtype).tobytes()


def _counts(arrays: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """Size of every axis, from the first array that has it."""
    counts: dict[str, int] = {}
    for name, entry in arrays.items():
        spec = spec_of(name)
        assert spec is not None
        for axis, size in zip(spec.axes, entry["shape"], strict=True):
            if axis != "kept bytes" and not axis.isdigit():
                counts.setdefault(axis.removesuffix(" + 1"), size - axis.endswith(" + 1"))
    return dict(sorted(counts.items()))
