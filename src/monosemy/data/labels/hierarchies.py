"""Hierarchies by name, or from a file."""

from __future__ import annotations

from pathlib import Path

from monosemy.data.labels.english import LETTERS, WORDS
from monosemy.data.labels.own import read_hierarchy
from monosemy.data.labels.python import BRACKETS, PYTHON
from monosemy.data.labels.spans import Hierarchy
from monosemy.foundation.errors import UserError, nearest

HIERARCHIES = {one.name: one for one in (PYTHON, BRACKETS, WORDS, LETTERS)}


def open_hierarchy(name: str | Path) -> Hierarchy:
    """The hierarchy called `name`, or that of a JSONL file.

    Errors
    ------
    `UserError` for an unknown name, with all known ones, and for a file that holds no spans.
    """
    if str(name) in HIERARCHIES:
        return HIERARCHIES[str(name)]
    if str(name).endswith(".jsonl"):
        return read_hierarchy(name)
    raise UserError(
        f"unknown hierarchy {str(name)!r}; known: {', '.join(HIERARCHIES)}, or FILE.jsonl"
        + nearest(str(name), HIERARCHIES)
    )
