"""What a file format is: how it is told apart, read, and written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from monosemy.dictionaries.base import Dictionary

Collection = Mapping[str, Dictionary]
"""Dictionaries by the name of their part; a file that holds one has one part, called ``""``."""


@dataclass(frozen=True)
class Format:
    """A form that some library gives dictionaries on disk.

    Attributes
    ----------
    name : as the command line says it: ``sparsify``.
    library : whose form it is, for messages.
    recognises : whether a path looks like it; reads names and small headers only, never raises.
    read : every dictionary at a path, in evaluation mode; raises `UserError` with all reasons.
    refuse : why a collection cannot be expressed, one reason each; `None` where nothing is written.
    write : into a folder, atomically, what `refuse` has no reason against.
    renamed : a collection under the names, and in the order, in which its parts are read back;
        `None` where they keep their own.
    """

    name: str
    library: str
    recognises: Callable[[Path], bool]
    read: Callable[[Path], dict[str, Dictionary]]
    refuse: Callable[[Collection], list[str]] | None = None
    write: Callable[[Collection, Path], None] | None = None
    renamed: Callable[[Collection], dict[str, Dictionary]] | None = None
