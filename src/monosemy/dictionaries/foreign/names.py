"""What the names of folders, and of the tensors in a file, tell before it is read."""

from __future__ import annotations

import json
import re
from pathlib import Path

_MOST_HEADER = 1 << 24
"""Bytes of a safetensors header beyond which it is not looked into."""


def header_names(path: Path) -> set[str]:
    """Names of the tensors in the safetensors file at `path`, read off its header; none if broken."""
    try:
        with open(path, "rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(size)) if size <= _MOST_HEADER else None
    except (OSError, ValueError, RecursionError):
        return set()
    return set(header) - {"__metadata__"} if isinstance(header, dict) else set()


def found_in_names(path: Path, pattern: str) -> re.Match[str] | None:
    """The last match of `pattern` in the name at `path` or the nearest folder that has one."""
    for name in reversed(Path(path).absolute().parts):
        matches = list(re.finditer(pattern, name))
        if matches:
            return matches[-1]
    return None
