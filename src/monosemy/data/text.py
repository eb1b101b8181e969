"""Documents: the standard library, files, folders, datasets; in a fixed order.

A corpus is an ordered list of named documents. Its fingerprint changes when any name or any
character does, so a run can say exactly what it read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from monosemy.data.documents import END_OF_DOCUMENT, Document, Grouped
from monosemy.data.files import read_dataset, read_file, read_folder
from monosemy.data.library import describe_standard_library, standard_library
from monosemy.foundation.errors import UserError, nearest, refuse

__all__ = ["END_OF_DOCUMENT", "Corpus", "Document", "describe_standard_library", "open_corpus",
           "split_of"]  # fmt: skip

SPLITS = ("train", "heldout", "all")
# One file in eight is held out: enough documents for intervals, few enough to train on the rest.
HELDOUT_SHARE = 8


@dataclass(frozen=True)
class Corpus:
    """Documents in a fixed order, and where they came from."""

    name: str
    split: str
    documents: tuple[Document, ...]

    @property
    def characters(self) -> int:
        """Length of all documents together."""
        return sum(len(document.text) for document in self.documents)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over every name and every text, in order."""
        digest = hashlib.sha256()
        for document in self.documents:
            digest.update(document.name.encode() + b"\0" + document.text.encode() + b"\0")
        return digest.hexdigest()


def open_corpus(source: str | Path, split: str = "train") -> Corpus:
    """The documents of `source`, in a fixed order.

    Parameters
    ----------
    source : ``stdlib`` (the standard library of the running Python), a ``.txt`` file (a line
        ``<|endoftext|>`` ends each document; without one, the file is one document), a ``.jsonl``
        file (one object a line, text under ``text``), either of them with ``.gz`` behind, a folder
        of such files and of source files, or a folder written by ``Dataset.save_to_disk`` or
        ``DatasetDict.save_to_disk`` (whose own parts are read one after another).
    split : ``train``, ``heldout`` or ``all``. The split goes by the SHA-256 of a name: for a folder
        and the standard library the file's name, else the document's; about one in eight is held
        out. A document is in exactly one of ``train`` and ``heldout``, and stays there when files
        come or go and when documents are added at the end of a file.

    Errors
    ------
    `UserError` for an unknown source or split, and for text that is empty, damaged or not UTF-8.
    """
    if split not in SPLITS:
        hint = nearest(split, SPLITS)
        raise UserError(f"unknown split {split!r}; known: {', '.join(SPLITS)}{hint}")
    everything = list(_read(source))
    refuse(_not_unicode(document for _, document in everything), str(source))
    chosen = tuple(document for group, document in everything if split in ("all", split_of(group)))
    if not any(document.text.strip() for _, document in everything):
        raise UserError(f"no text in {source}: wanted at least one document that is not empty")
    if not chosen:
        raise UserError(
            f"no document of {source} falls into the split {split!r} ({len(everything)} in all); "
            "give more documents (in one file, a line <|endoftext|> ends each)"
        )
    return Corpus(name=str(source), split=split, documents=chosen)


def _not_unicode(documents: Iterable[Document]) -> list[str]:
    """A sentence for each document that holds half a surrogate pair: no tokenizer can read it."""
    reasons = []
    for document in documents:
        try:
            document.name.encode(), document.text.encode()
        except UnicodeEncodeError as error:
            found = f"{error.object[error.start]!r} at character {error.start}"
            reasons.append(
                f"document {document.name!r} holds {found}, which is not Unicode text; "
                "repair it, or leave it out"
            )
    return reasons


def split_of(name: str) -> str:
    """``heldout`` for about one name in eight, by SHA-256; else ``train``.

    >>> split_of("json/decoder.py")
    'train'
    """
    digest = hashlib.sha256(name.encode()).digest()
    return "heldout" if int.from_bytes(digest[:8], "big") % HELDOUT_SHARE == 0 else "train"


def _read(source: str | Path) -> Grouped:
    if str(source) == "stdlib":
        return standard_library()
    path = Path(source)
    if not path.exists():
        raise UserError(
            f"unknown text source {str(source)!r}: no such file or folder; wanted 'stdlib', "
            "a .txt, .txt.gz, .jsonl or .jsonl.gz file, a folder of text, or a datasets folder"
            + nearest(str(source), ["stdlib"])
        )
    if path.is_dir():
        is_dataset = (path / "dataset_info.json").exists() or (path / "dataset_dict.json").exists()
        return read_dataset(path) if is_dataset else read_folder(path)
    return ((document.name, document) for document in read_file(path, path.name))
