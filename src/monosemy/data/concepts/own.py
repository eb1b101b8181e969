"""Concepts that a person brings: a JSONL file of marked characters."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from monosemy.data.concepts.sets import TOKENS, Concept, ConceptSet, ConceptSource, Mark
from monosemy.data.documents import Document, decode
from monosemy.foundation.errors import UserError, nearest, refuse

_DECLARES, _MARKS = ("concept", "group", "about", "parents", "token"), (
    "document", "start", "end", "concept",
)  # fmt: skip
# Reasons that are told; a file with thousands has one cause.
_TOLD = 8


def read_concepts(path: str | Path) -> ConceptSource:
    """The concepts in a JSONL file: a mark a line, and where wanted a line about a concept.

    ``{"document": "json/decoder.py", "start": 10, "end": 16, "concept": "import"}`` marks characters
    of a document as the corpus names it. ``{"concept": "import", "parents": ["keyword"], "group":
    "words", "about": "the word import", "token": "last"}`` says more about a concept; all but its
    name may be left out. Documents that the file does not name are not looked at.

    Errors
    ------
    `UserError` with every reason: lines that are neither, and parents that do not fit.
    """
    path = Path(path)
    try:
        text = decode(path.read_bytes(), path)
    except OSError as error:
        raise UserError(f"concepts at {path} cannot be read: {error.strerror}") from None
    declared, marked, reasons = (
        dict[str, Concept](),
        defaultdict[str, list[Mark]](list),
        list[str](),
    )
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            reasons += _read_line(line, f"line {number}", declared, marked)
    if not reasons and not marked:
        reasons.append(f"no mark in {path}; wanted lines such as "
                       '{"document": "a.txt", "start": 0, "end": 3, "concept": "animal"}')  # fmt: skip
    more = len(reasons) - _TOLD
    refuse(reasons[:_TOLD] + ([f"and {more:,} more"] if more > 0 else []), f"concepts at {path}")
    for name in dict.fromkeys(mark[2] for marks in marked.values() for mark in marks):
        declared.setdefault(name, Concept(name, "own", name))

    def marks(document: Document) -> list[Mark] | None:
        return marked.get(document.name)

    concepts = ConceptSet(tuple(declared.values()))
    return ConceptSource(path.name, f"what {path} marks", concepts, marks)


def _read_line(
    line: str, where: str, declared: dict[str, Concept], marked: dict[str, list[Mark]]
) -> list[str]:
    try:
        given = json.loads(line)
    except json.JSONDecodeError as error:
        return [f"{where} is no JSON: {error.msg}"]
    if not isinstance(given, dict):
        return [f"{where} is {type(given).__name__}; wanted an object"]
    known = _MARKS if "document" in given else _DECLARES
    reasons = [
        f"{where}: unknown key {key!r}{nearest(key, known)}" for key in given if key not in known
    ]
    if not isinstance(given.get("concept"), str) or not given["concept"]:
        reasons.append(f"{where}: concept is {given.get('concept')!r}; wanted a name")
    if reasons:
        return reasons
    if "document" not in given:
        return _declare(given, where, declared)
    start, end = given.get("start"), given.get("end")
    if not (type(start) is int and type(end) is int and 0 <= start < end):
        return [f"{where}: characters {start!r} to {end!r}; wanted 0 <= start < end"]
    marked[str(given["document"])].append((start, end, given["concept"]))
    return []


def _declare(given: dict[str, Any], where: str, declared: dict[str, Concept]) -> list[str]:
    name, token, parents = given["concept"], given.get("token", TOKENS[0]), given.get("parents", [])
    if name in declared:
        return [f"{where}: concept {name!r} is declared twice"]
    if token not in TOKENS:
        return [f"{where}: token is {token!r}; known: {', '.join(TOKENS)}"]
    if not isinstance(parents, list) or not all(isinstance(one, str) for one in parents):
        return [f"{where}: parents is {parents!r}; wanted a list of names"]
    group, about = str(given.get("group", "own")), str(given.get("about", name))
    declared[name] = Concept(name, group, about, tuple(parents), token)
    return []
