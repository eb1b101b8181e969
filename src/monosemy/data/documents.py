"""A document: a text with a name; what every source of text gives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from monosemy.foundation.errors import UserError

END_OF_DOCUMENT = "<|endoftext|>"


@dataclass(frozen=True)
class Document:
    """One text with a name that is unique in its corpus (a path, or a path and a line)."""

    name: str
    text: str


Grouped = Iterator[tuple[str, Document]]
"""Pairs of (the name that decides the split, the document)."""


def decode(data: bytes, path: Path) -> str:
    """`data` as UTF-8 text; `UserError` names the file and the byte that is not text."""
    try:
        text = data.decode("utf-8").removeprefix("\ufeff")  # a byte order mark is no character
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is not UTF-8 text (byte {error.start} is 0x{data[error.start]:02x}); "
            "convert it, or leave it out"
        ) from None
    if "\0" in text:
        raise UserError(f"{path} holds a NUL byte at {text.index(chr(0))}: binary, not text")
    return text
