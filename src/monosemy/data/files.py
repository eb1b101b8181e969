"""Documents from files: text, JSON lines, compressed or not, folders of them, datasets folders."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from monosemy.data.documents import END_OF_DOCUMENT, Document, Grouped, decode
from monosemy.foundation.errors import UserError

TEXT_SUFFIXES = (".txt", ".txt.gz", ".jsonl", ".jsonl.gz", ".md", ".rst", ".py")
_END_LINE = re.compile(rf"^{re.escape(END_OF_DOCUMENT)}[ \t]*\r?$", re.MULTILINE)


def read_folder(root: Path) -> Grouped:
    """Every text file below `root` that is not hidden, by path; a file decides its own split."""
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
        for document in read_file(path, name):
            yield name, document


def read_file(path: Path, name: str) -> Iterator[Document]:
    """The documents of one file, called `name`, or ``name#0``, ``name#1``, ... where it has several."""
    text = decode(_bytes(path), path)
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


def read_dataset(path: Path) -> Grouped:
    """Rows of a folder that the datasets library saved; each row decides its own split."""
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
