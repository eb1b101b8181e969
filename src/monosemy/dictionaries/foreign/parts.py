"""Several dictionaries below one folder, each in a folder named after its part."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath


def folders_with(root: Path, name: str, depth: int) -> list[Path]:
    """`root` if it holds a file that `name` matches, else the folders that do, `depth` below at most.

    In natural order, ``layers.2`` before ``layers.10``.
    """
    for_root = _holding(root, name)
    if for_root or not root.is_dir():
        return for_root
    below = {at for level in range(1, depth + 1) for at in _holding(root, "*/" * level + name)}
    return sorted(below, key=lambda at: natural(str(at.relative_to(root))))


def natural(text: str) -> list[tuple[int, str]]:
    """A key that sorts the numbers in `text` by size."""
    return [(int(piece), "") if piece.isdecimal() else (-1, piece)
            for piece in re.split(r"(\d+)", text)]  # fmt: skip


def name_reasons(names: Iterable[str]) -> list[str]:
    """Why parts of these names cannot each have a folder of their own."""
    names = list(names)
    reasons = [] if names else ["there is no dictionary in it"]
    if "" in names and len(names) > 1:
        reasons.append("a part without a name lies beside others; name it or write it alone")
    return reasons + [
        f"the part {name!r} cannot be a folder; wanted a relative path without '.' and '..'"
        for name in names
        if name and not _is_folder(name)
    ]


def _is_folder(name: str) -> bool:
    pieces = name.split("/")
    plain = all(piece.strip() and piece not in (".", "..") for piece in pieces)
    return plain and "\\" not in name and "\0" not in name and not PurePosixPath(name).is_absolute()


def _holding(root: Path, pattern: str) -> list[Path]:
    try:
        return sorted({found.parent for found in root.glob(pattern)})
    except OSError:
        return []
