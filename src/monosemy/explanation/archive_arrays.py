"""The arrays of an archive's folder, mapped into memory and never read past their ends."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from monosemy.explanation.archive_layout import DTYPES
from monosemy.foundation.errors import UserError, refuse
from monosemy.foundation.progress import SILENT, Progress
from monosemy.foundation.storage import sha256

AGAIN = "the archive is damaged: copy it again, or collect it again into another folder"


class Arrays:
    """Arrays by name, opened when they are first asked for.

    Parameters
    ----------
    folder : the archive.
    listed : the manifest's ``arrays``, checked.

    Errors
    ------
    `UserError` names every file that is missing, is no plain file or has another size.
    """

    def __init__(self, folder: Path, listed: Mapping[str, Mapping[str, Any]]):
        self.folder = folder
        self.listed = listed
        self._open: dict[str, np.ndarray] = {}
        refuse(self._size_faults(), f"the archive in {folder}")

    def __contains__(self, name: str) -> bool:
        return name in self.listed

    def __getitem__(self, name: str) -> np.ndarray:
        """The whole array, read-only and little-endian."""
        if name not in self._open:
            entry = self.listed[name]
            shape = tuple(entry["shape"])
            dtype = DTYPES[entry["dtype"]]
            if 0 in shape:  # an empty file cannot be mapped
                self._open[name] = np.zeros(shape, dtype)
            else:
                self._open[name] = np.asarray(np.memmap(self.path(name), dtype, "r", shape=shape))
        return self._open[name]

    def path(self, name: str) -> Path:
        """The array's file."""
        return self.folder / self.listed[name]["file"]

    def span(self, name: str, index: int, limit: int) -> tuple[int, int]:
        """Entries `index` and `index` + 1 of an array of pointers; refused outside 0 to `limit`."""
        start, stop = map(int, self[name][index : index + 2])
        if not 0 <= start <= stop <= limit:
            raise self.damaged(
                name, f"entry {index:,} points to {start:,} up to {stop:,} of {limit:,}"
            )
        return start, stop

    def below(self, name: str, values: np.ndarray, limit: int) -> np.ndarray:
        """`values`, read from `name`, as 64-bit numbers; refused where one is not below `limit`."""
        found = values.astype(np.int64)
        signed = values.dtype.kind == "i"
        if found.size and (int(found.max()) >= limit or (signed and int(found.min()) < 0)):
            raise self.damaged(name, f"it holds {int(found.max()):,}; wanted less than {limit:,}")
        return found

    def damaged(self, name: str, reason: str) -> UserError:
        """The error for an array whose content makes no sense."""
        return UserError(f"{self.path(name)}: {reason}; {AGAIN}")

    def verify(self, progress: Progress = SILENT) -> list[str]:
        """Files whose SHA-256 is not the manifest's, as sentences."""
        faults = []
        with progress.task("verify", len(self.listed), "files") as task:
            for name, entry in self.listed.items():
                found, wanted = sha256(self.path(name)), entry["sha256"]
                if found != wanted:
                    faults.append(
                        f"{self.path(name)} has SHA-256 {found[:16]}..., the manifest says "
                        f"{wanted[:16]}...; {AGAIN}"
                    )
                task.advance()
        return faults

    def _size_faults(self) -> list[str]:
        faults = []
        for name, entry in self.listed.items():
            path = self.path(name)
            try:
                found = path.lstat()
            except OSError:
                faults.append(f"{path} is missing; {AGAIN}")
                continue
            if not stat.S_ISREG(found.st_mode) or path.parent.is_symlink():
                faults.append(f"{path} is not a plain file; {AGAIN}")
            elif found.st_size != entry["bytes"]:
                faults.append(
                    f"{path} has {found.st_size:,} bytes, the manifest says {entry['bytes']:,}; {AGAIN}"
                )
        return faults
