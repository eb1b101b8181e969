"""Activation files, as docs/formats/shards.md says."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from monosemy.data.manifest import (
    CONTEXTS,
    DOCUMENTS,
    FORMAT,
    MANIFEST,
    Manifest,
    Settings,
    shard_name,
)
from monosemy.data.tokens import Contexts, Origin
from monosemy.foundation.errors import UserError, nearest, refuse
from monosemy.foundation.progress import SILENT, Progress
from monosemy.foundation.storage import read_json, sha256, write_bytes
from monosemy.tensors.axes import Float, Tensor
from monosemy.tensors.compute import DTYPES

AGAIN = "run the same capture command again: it keeps what is whole and writes the rest"


class ShardFolder:
    """A folder that is captured into: begins it, or goes on where an earlier capture stopped.

    Errors
    ------
    `UserError` where the folder holds something else, or shards of other settings (all differences
    are named).
    """

    def __init__(self, folder: Path, settings: Settings, contexts: Contexts):
        self.folder = Path(folder)
        self.settings = settings
        self._files: dict[str, Any] = {}
        if (self.folder / MANIFEST).exists():
            self._go_on()
        else:
            self._refuse_strangers()
        self._remove_temporary()
        self._write_contexts(contexts)

    @property
    def missing(self) -> list[int]:
        """The shards that are still to be written."""
        shards = range(self.settings.shards)
        return [shard for shard in shards if shard_name(shard) not in self._files]

    def write(self, shard: int, rows: Mapping[str, Tensor]) -> None:
        """Write one shard (site name to rows), then list it in the manifest."""
        tensors = {site: value.cpu().contiguous() for site, value in rows.items()}
        self._put({shard_name(shard): save(tensors, metadata={"format": FORMAT})})

    def _put(self, files: Mapping[str, bytes]) -> None:
        for name, data in files.items():
            write_bytes(self.folder / name, data)
            digest = hashlib.sha256(data).hexdigest()
            self._files[name] = {"bytes": len(data), "sha256": digest}
        Manifest(self.settings, dict(sorted(self._files.items()))).write(self.folder)

    def _write_contexts(self, contexts: Contexts) -> None:
        columns = {name: getattr(contexts, name).int() for name in ("ids", "document", "offset")}
        names = json.dumps(contexts.documents, ensure_ascii=False) + "\n"
        files = {
            CONTEXTS: save({**columns, "kept": contexts.kept}),
            DOCUMENTS: names.encode(),
        }
        self._put({name: data for name, data in files.items() if name not in self._files})

    def _go_on(self) -> None:
        found = Manifest.read(self.folder)
        was, now = asdict(found.settings), asdict(self.settings)
        different = [
            f"{name} is {was[name]!r} in {self.folder} and {now[name]!r} now; "
            "give the same settings, or another folder"
            for name in was
            if was[name] != now[name]
        ]
        refuse(different, f"the capture that {self.folder} holds")
        self._files = {
            name: record
            for name, record in found.files.items()
            if not _fault(self.folder / name, record, sums=True)
        }

    def _refuse_strangers(self) -> None:
        known = {CONTEXTS, DOCUMENTS}
        there = [path.name for path in self.folder.glob("*")] if self.folder.exists() else []
        if strangers := [name for name in there if name not in known and name[0] != "."]:
            raise UserError(
                f"{self.folder} holds other files ({', '.join(sorted(strangers)[:3])}) and no "
                f"{MANIFEST}; name a new or empty folder"
            )

    def _remove_temporary(self) -> None:
        # What a killed process was writing; see `storage.write_bytes` for the names.
        for name in [MANIFEST, *self.settings.files()]:
            for path in self.folder.glob(f".{name}.*"):
                path.unlink()


def _fault(path: Path, record: Mapping[str, Any], sums: bool) -> str:
    """What is wrong with a listed file, or an empty string."""
    if not path.exists():
        return f"{path} is missing; {AGAIN}"
    size = path.stat().st_size
    if size != record["bytes"]:
        return f"{path} has {size:,} bytes, the manifest says {record['bytes']:,}; {AGAIN}"
    if sums and (found := sha256(path)) != record["sha256"]:
        wanted = record["sha256"]
        return f"{path} has SHA-256 {found[:16]}..., the manifest says {wanted[:16]}...; {AGAIN}"
    return ""


class ShardSource:
    """The rows of one site of a complete folder, memory-mapped. A `streams.Source`."""

    waits_for = "input"

    def __init__(self, folder: Path, manifest: Manifest, site: str):
        self.folder = folder
        self.manifest = manifest
        self.site = site
        self.tokens = manifest.settings.tokens
        self.width = manifest.settings.sites[site]
        self.dtype = DTYPES[manifest.settings.dtype]
        self.fingerprint = manifest.settings.source_fingerprint(site)

    @cached_property
    def contexts(self) -> Contexts:
        """Token ids and provenance, as they were captured."""
        settings = self.manifest.settings
        try:
            with safe_open(self.folder / CONTEXTS, framework="pt") as file:
                ids, document, offset, kept = (
                    file.get_tensor(name) for name in ("ids", "document", "offset", "kept")
                )
        except SafetensorError as error:
            raise UserError(f"{self.folder / CONTEXTS} is damaged ({error}); {AGAIN}") from None
        names = read_json(self.folder / DOCUMENTS, "the list of documents")
        origin = Origin(**settings.origin) if settings.origin else None
        contexts = Contexts(ids.long(), document, offset, kept, tuple(names), origin)
        if contexts.fingerprint != settings.contexts_fingerprint:
            raise UserError(
                f"{CONTEXTS} or {DOCUMENTS} in {self.folder} is not what was captured from; {AGAIN}"
            )
        return contexts

    def rows(self, start: int, stop: int) -> Float[Tensor, "token width"]:
        """Activations of kept tokens `start` to `stop`, in order, in the dtype captured."""
        if not 0 <= start <= stop <= self.tokens:
            raise IndexError(f"rows {start} to {stop} of {self.tokens}")
        settings = self.manifest.settings
        rows = torch.empty(stop - start, self.width, dtype=self.dtype)
        for shard in range(start // settings.tokens_per_shard, settings.shards):
            first, last = settings.bounds(shard)
            if first >= stop:
                break
            low, high = max(start, first), min(stop, last)
            rows[low - start : high - start] = self._slice(shard, low - first, high - first)
        return rows

    def _slice(self, shard: int, start: int, stop: int) -> Float[Tensor, "token width"]:
        path = self.folder / shard_name(shard)
        first, last = self.manifest.settings.bounds(shard)
        try:
            with safe_open(path, framework="pt") as file:
                whole = file.get_slice(self.site)
                shape, rows = whole.get_shape(), whole[start:stop]
        except (SafetensorError, FileNotFoundError) as error:
            raise UserError(f"{path} is damaged ({error}); {AGAIN}") from None
        found, wanted = (shape, rows.dtype), ([last - first, self.width], self.dtype)
        if found != wanted:
            raise UserError(
                f"{path} holds {self.site} as {found[1]} of shape {found[0]}, wanted {wanted[1]} "
                f"of shape {wanted[0]}; {AGAIN}"
            )
        return rows

    def verify(self, progress: Progress = SILENT) -> None:
        """Compare the SHA-256 of every file; `UserError` names all that differ."""
        files = self.manifest.files
        faults = []
        with progress.task("verify", len(files), "files") as task:
            for name, record in files.items():
                faults.append(_fault(self.folder / name, record, sums=True))
                task.advance()
        refuse([fault for fault in faults if fault], f"the capture in {self.folder}")


def open_shards(folder: str | Path, site: str | None = None) -> ShardSource:
    """The rows of `site` in a folder of shards; the only site there where none is named.

    Sizes are compared on opening, sums in `ShardSource.verify`.

    Errors
    ------
    `UserError` for a folder without a manifest, a site that is not in it, a capture that is not
    complete, and files that are missing or of the wrong size (all of them are named).
    """
    folder = Path(folder)
    manifest = Manifest.read(folder)
    name = _choose(manifest.settings, site, folder)
    _refuse_incomplete(folder, manifest)
    faults = [_fault(folder / file, record, sums=False) for file, record in manifest.files.items()]
    refuse([fault for fault in faults if fault], f"the capture in {folder}")
    return ShardSource(folder, manifest, name)


def _choose(settings: Settings, site: str | None, folder: Path) -> str:
    if site is None and len(settings.sites) == 1:
        return next(iter(settings.sites))
    if site in settings.sites:
        return site
    known = ", ".join(settings.sites)
    if site is None:
        raise UserError(f"{folder} holds several sites; name one of: {known}")
    raise UserError(
        f"{folder} holds no site {site!r}; it holds: {known}{nearest(site, settings.sites)}"
    )


def _refuse_incomplete(folder: Path, manifest: Manifest) -> None:
    files = manifest.settings.files()
    if lacking := [name for name in files if name not in manifest.files]:
        raise UserError(
            f"{folder} is only partly captured: {len(lacking)} of {len(files)} files are still to "
            "be written; run the same capture command again to finish"
        )
