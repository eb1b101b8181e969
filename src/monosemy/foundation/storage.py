"""Files that are either whole or absent: written beside their place, flushed, then renamed."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from monosemy.foundation.errors import UserError


class DiskFull(UserError):
    """The disk filled up while a file was written; nothing half-written was left behind."""


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically: a reader sees the old file or the new one, never a part.

    Raises `DiskFull` with the bytes wanted and the bytes free; the old file then still stands.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except OSError as error:
        Path(temporary).unlink(missing_ok=True)
        _refuse_full(error, path, len(data))
        raise
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def append_line(path: Path, line: str) -> None:
    """Add one line of UTF-8 text at the end of `path`. Not atomic: a crash may cut the line short."""
    data = (line + "\n").encode("utf-8")
    try:
        with open(path, "ab") as file:
            file.write(data)
    except OSError as error:
        _refuse_full(error, Path(path), len(data))
        raise


def _refuse_full(error: OSError, path: Path, size: int) -> None:
    """`DiskFull` if that is what `error` means."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return
    free = shutil.disk_usage(path.parent).free
    raise DiskFull(
        f"no space left for {path}: {size:,} bytes wanted, {free:,} free. "
        "What was written before it is whole; free some space and run the same command "
        "again to go on from there."
    ) from error


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically. NaN is refused: it is not JSON."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path, what: str) -> Any:
    """The JSON value in `path`; `what` names the file's role in the error."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{what} is missing: {path} does not exist") from None
    except OSError as error:
        raise UserError(f"{what} at {path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # numbers too long, and lists too deep, too
        raise UserError(f"{what} at {path} is not valid JSON: {error}") from None


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def _umask() -> int:
    # The mask can only be read by setting it; mkstemp files are 0600, readers expect the usual mode.
    mask = os.umask(0)
    os.umask(mask)
    return mask
