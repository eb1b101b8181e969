"""Documents: the standard library, files, folders, datasets; in a fixed order.

A corpus is an ordered list of named documents. Its fingerprint changes when any name or any
character does, so a run can say exactly what it read.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import sys
import sysconfig
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from monosemy.foundation.errors import UserError, nearest, refuse

END_OF_DOCUMENT = "<|endoftext|>"
SPLITS = ("train", "heldout", "all")
# One file in eight is held out: enough documents for intervals, few enough to train on the rest.
HELDOUT_SHARE = 8


@dataclass(frozen=True)
class Document:
    """One text with a name that is unique in its corpus (a path, or a path and a line)."""

    name: str
    text: str


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


Grouped = Iterator[tuple[str, Document]]
"""Pairs of (the name that decides the split, the document)."""


def _read(source: str | Path) -> Grouped:
    if str(source) == "stdlib":
        return _standard_library()
    path = Path(source)
    if not path.exists():
        raise UserError(
            f"unknown text source {str(source)!r}: no such file or folder; wanted 'stdlib', "
            "a .txt, .txt.gz, .jsonl or .jsonl.gz file, a folder of text, or a datasets folder"
            + nearest(str(source), ["stdlib"])
        )
    if path.is_dir():
        is_dataset = (path / "dataset_info.json").exists() or (path / "dataset_dict.json").exists()
        return _dataset(path) if is_dataset else _folder(path)
    return ((document.name, document) for document in _file(path, path.name))


# --- the standard library ------------------------------------------------------------------------

# Left out because not every build of Python carries them (distributions split them off), because
# they differ by platform, or because they are test suites.
_NOT_EVERYWHERE = frozenset(
    ["antigravity", "distutils", "ensurepip", "idlelib", "lib2to3", "msilib", "nt", "pydoc_data"]
    + ["this", "tkinter", "turtle", "turtledemo", "venv", "winreg", "winsound"]
)
# encodings/cp1252.py and its seventy siblings are tables of 256 characters: machine-made, and
# a tenth of the library's bytes.
_TABLE_PREFIXES = ("cp", "iso8859", "mac_", "koi8", "kz1048", "ptcp154", "tis_620", "hp_roman8")


def _standard_library() -> Grouped:
    root = Path(sysconfig.get_paths()["stdlib"])
    paths = sorted(path for path in _library_files(root) if not _is_table(path))
    if not paths:
        raise UserError(
            f"the sources of the standard library are missing: no .py files under {root}. "
            "Install your Python's source files (some minimal builds ship only .pyc), or name "
            "other text: --text FILE_OR_FOLDER"
        )
    for path in paths:
        name = path.relative_to(root).as_posix()
        yield name, Document(name, _decode(path.read_bytes(), path))
    for topic, text in sorted(_language_topics().items()):
        # All topics come from one file, so they stay on one side of the split.
        yield "pydoc_data/topics.py", Document(f"pydoc_data/topics.py#{topic}", text)


def _library_files(root: Path) -> Iterator[Path]:
    for module in sorted(sys.stdlib_module_names - _NOT_EVERYWHERE):
        if module.startswith("_sysconfigdata") or module.startswith("_osx"):
            continue
        if (root / f"{module}.py").is_file():
            yield root / f"{module}.py"
        for path in (root / module).rglob("*.py"):
            inside = path.relative_to(root).parts
            if not {"test", "tests", "idle_test", "site-packages"} & set(inside):
                yield path


def _is_table(path: Path) -> bool:
    return path.parent.name == "encodings" and path.name.startswith(_TABLE_PREFIXES)


def _language_topics() -> dict[str, str]:
    try:
        from pydoc_data.topics import topics
    except ImportError:  # a build without documentation: the sources alone are still a corpus
        return {}
    return topics


def describe_standard_library() -> dict[str, str]:
    """What decides the content of the ``stdlib`` corpus: the Python version."""
    return {"python": ".".join(map(str, sys.version_info[:3]))}


# --- files and folders ---------------------------------------------------------------------------

TEXT_SUFFIXES = (".txt", ".txt.gz", ".jsonl", ".jsonl.gz", ".md", ".rst", ".py")
_END_LINE = re.compile(rf"^{re.escape(END_OF_DOCUMENT)}[ \t]*\r?$", re.MULTILINE)


def _folder(root: Path) -> Grouped:
    paths = sorted(
        path
        for path in root.rglob("*")
        if path.is_file()
        and path.name.endswith(TEXT_SUFFIXES)
        and not any(part.startswith(".") for part in path.relative_to(root).parts)
    )
    if not paths:
        raise UserError(f"no text files in {root}: wanted {', '.join(TEXT_SUFFIXES)}")
    for path in paths:
        name = path.relative_to(root).as_posix()
        for document in _file(path, name):
            yield name, document


def _file(path: Path, name: str) -> Iterator[Document]:
    text = _decode(_bytes(path), path)
    is_json = path.name.removesuffix(".gz").endswith(".jsonl")
    texts = _json_lines(text, path) if is_json else _split_documents(text)
    if len(texts) == 1:
        yield Document(name, texts[0])
        return
    for index, one in enumerate(texts):
        yield Document(f"{name}#{index}", one)


def _bytes(path: Path) -> bytes:
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if path.name.endswith(".gz") else data
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(
            f"{path} is not a whole gzip file ({error}); fetch or compress it again"
        ) from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None


def _split_documents(text: str) -> list[str]:
    parts = _END_LINE.split(text)
    return [part.strip() for part in parts if part.strip()] if len(parts) > 1 else [text]


def _json_lines(text: str, path: Path) -> list[str]:
    texts = []
    # Not splitlines(): a JSON string may hold U+2028, U+0085 and other line ends as they are.
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            texts.append(json.loads(line)["text"])
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise UserError(
                f"{path}, line {number}: wanted a JSON object with a string under 'text', "
                f"got {line[:60]!r} ({type(error).__name__})"
            ) from None
    return _all_strings(texts, path)


def _all_strings(texts: Iterable[object], path: Path) -> list[str]:
    strings = []
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            kind = type(text).__name__
            raise UserError(f"{path}, document {index}: 'text' is {kind}, not a string")
        strings.append(text)
    return strings


def _decode(data: bytes, path: Path) -> str:
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


def _dataset(path: Path) -> Grouped:
    try:
        from datasets import load_from_disk
    except ImportError:
        raise UserError(
            f"{path} is a datasets folder; reading it needs the extra: "
            "pip install 'monosemy[datasets]'"
        ) from None
    try:
        loaded = load_from_disk(str(path))
    except Exception as error:  # whatever the library meets in a damaged folder
        raise UserError(f"{path} is a datasets folder that cannot be read: {error}") from None
    tables = loaded.items() if hasattr(loaded, "items") else [("", loaded)]
    for part, table in tables:
        if "text" not in table.column_names:
            raise UserError(f"{path}: no column 'text' among {', '.join(table.column_names)}")
        for index, text in enumerate(_all_strings(table["text"], path)):
            name = f"{part}#{index}" if part else f"#{index}"
            yield name, Document(name, text)
