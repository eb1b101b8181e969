"""What a folder of activation shards holds, as docs/formats/shards.md says."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from monosemy.data.tokens import Origin
from monosemy.foundation.errors import UserError, refuse
from monosemy.foundation.storage import read_json, write_json
from monosemy.tensors.compute import DTYPES

FORMAT = "monosemy-activations"
VERSION = 1
MANIFEST = "manifest.json"
CONTEXTS = "contexts.safetensors"
DOCUMENTS = "documents.json"


@dataclass(frozen=True)
class Settings:
    """What a folder of shards holds; fixed before the first is written."""

    model: str
    """The name the model was loaded by."""
    model_fingerprint: str
    """Of the weights; see the format."""
    sites: dict[str, int]
    """Site name to width."""
    dtype: str
    """Precision of the rows: a key of `DTYPES`."""
    group: int
    """Contexts in one forward pass."""
    contexts: int
    """How many contexts."""
    context_length: int
    """Positions in a context."""
    contexts_fingerprint: str
    """See `Contexts.fingerprint`."""
    tokens: int
    """Kept tokens: rows of every site."""
    tokens_per_shard: int
    """Rows of every shard but the last."""
    origin: dict[str, Any] | None
    """The fields of `Origin`, if known."""

    @property
    def shards(self) -> int:
        """How many shards a complete folder has."""
        return -(-self.tokens // self.tokens_per_shard)

    def bounds(self, shard: int) -> tuple[int, int]:
        """First row of `shard`, and one past its last."""
        start = shard * self.tokens_per_shard
        return start, min(start + self.tokens_per_shard, self.tokens)

    def files(self) -> list[str]:
        """Every file of a complete folder but the manifest."""
        return [CONTEXTS, DOCUMENTS, *map(shard_name, range(self.shards))]

    def source_fingerprint(self, site: str) -> str:
        """SHA-256 over all that decides the rows of `site`: equal wherever the rows are equal."""
        parts = (self.model_fingerprint, site, self.dtype, self.group, self.contexts_fingerprint)
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def shard_name(shard: int) -> str:
    """The file of one shard.

    >>> shard_name(3)
    'shard-00003.safetensors'
    """
    return f"shard-{shard:05d}.safetensors"


@dataclass(frozen=True)
class Manifest:
    """The settings of a folder, and which of its files are whole."""

    settings: Settings
    files: Mapping[str, Mapping[str, Any]]
    """File name to ``{"bytes", "sha256"}``."""

    def write(self, folder: Path) -> None:
        """Write ``manifest.json``."""
        head = {"format": FORMAT, "version": VERSION}
        write_json(folder / MANIFEST, head | asdict(self.settings) | {"files": dict(self.files)})

    @staticmethod
    def read(folder: Path) -> Manifest:
        """Read and check ``manifest.json``; `UserError` names all that is wrong with it."""
        path = folder / MANIFEST
        value = read_json(path, "the manifest of the activation shards")
        if not isinstance(value, dict) or value.get("format") != FORMAT:
            raise UserError(f"{path} is not a manifest of activation shards (format {FORMAT!r})")
        if value.get("version") != VERSION:
            raise UserError(
                f"{path} has format version {value.get('version')!r}, wanted {VERSION}; "
                "capture the activations again"
            )
        names = [field.name for field in fields(Settings)]
        refuse(_manifest_faults(value, names), str(path))
        return Manifest(Settings(**{name: value[name] for name in names}), value["files"])


def _manifest_faults(value: dict[str, Any], names: list[str]) -> list[str]:
    missing = [name for name in [*names, "files"] if name not in value]
    if missing:
        return [f"the manifest lacks {', '.join(missing)}; capture the activations again"]
    faults = [
        f"{name} in the manifest is {value[name]!r}; wanted a whole number above 0"
        for name in ("group", "contexts", "context_length", "tokens", "tokens_per_shard")
        if not _positive(value[name])
    ]
    if value["dtype"] not in DTYPES:
        faults.append(f"dtype in the manifest is {value['dtype']!r}; wanted {', '.join(DTYPES)}")
    sites, origin = value["sites"], value["origin"]
    if not (isinstance(sites, dict) and sites and all(map(_positive, sites.values()))):
        faults.append(f"sites in the manifest is {sites!r}; wanted site names and widths")
    if origin is not None and set(origin) != {field.name for field in fields(Origin)}:
        faults.append(f"origin in the manifest is {origin!r}; wanted null or the text's origin")
    return faults or _file_faults(value["files"], Settings(**{n: value[n] for n in names}))


def _positive(value: Any) -> bool:
    return type(value) is int and value > 0


def _file_faults(files: Any, settings: Settings) -> list[str]:
    if not isinstance(files, dict):
        return [f"files in the manifest is {files!r}; wanted file names and sums"]
    known = set(settings.files())
    faults = [
        f"the manifest lists {n!r}, which is no file of this folder" for n in files.keys() - known
    ]
    faults += [
        f"{name} in the manifest is {record!r}; wanted its bytes and its sha256"
        for name, record in files.items()
        if not isinstance(record, dict) or set(record) != {"bytes", "sha256"}
    ]
    return sorted(faults)
