"""Labels that a person brings: a JSONL file of character spans."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from monosemy.data.documents import Document, decode
from monosemy.data.labels.spans import FIRST, TOKENS, Hierarchy, Span
from monosemy.foundation.errors import UserError, nearest, refuse

_KEYS = ("document", "start", "end", "parent", "child", "token")
_NEEDED = ("document", "start", "end", "parent")
# Reasons that are told; a file with thousands has one cause.
_TOLD = 8


def read_hierarchy(path: str | Path) -> Hierarchy:
    """The hierarchy in a JSONL file, one span a line.

    ``{"document": "json/decoder.py", "start": 10, "end": 16, "parent": "keyword", "child":
    "import"}``: `document` as the corpus names it, `start` and `end` in characters. Without `child`,
    the text of the token is the child; ``"token": "last"`` takes the last token of the span (else
    the first). A `parent` of null is an example of what no label means; without any, all tokens
    outside the spans are, in the documents that the file names. Others are not looked at.

    Errors
    ------
    `UserError` with every reason: lines that are no such object, and spans that overlap.
    """
    path = Path(path)
    try:
        text = decode(path.read_bytes(), path)
    except OSError as error:
        raise UserError(f"labels at {path} cannot be read: {error.strerror}") from None
    by_document, reasons = defaultdict[str, list[Span]](list), list[str]()
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            _read_line(line, f"line {number}", by_document, reasons)
    reasons += _overlaps(by_document)
    if not by_document and not reasons:
        reasons = [f"{path} holds no span; wanted one JSON object a line"]
    if len(reasons) > _TOLD:
        reasons = [*reasons[:_TOLD], f"and {len(reasons) - _TOLD:,} more"]
    refuse(
        [reason if str(path) in reason else f"{path}: {reason}" for reason in reasons], str(path)
    )
    spans = {name: sorted(found, key=lambda one: one.start) for name, found in by_document.items()}
    negatives = any(span.parent is None for found in spans.values() for span in found)

    def find(document: Document) -> list[Span] | None:
        return spans.get(document.name)

    return Hierarchy(path.stem, f"spans of {path}", find, rest=not negatives)


def _read_line(line: str, where: str, found: dict[str, list[Span]], reasons: list[str]) -> None:
    try:
        one = json.loads(line)
    except (ValueError, RecursionError):
        one = None
    if not isinstance(one, dict):
        reasons.append(f"{where}: wanted a JSON object, got {line[:60]!r}")
        return
    wrong = _wrong(one)
    if wrong:
        reasons.extend(f"{where}: {reason}" for reason in wrong)
        return
    span = Span(one["start"], one["end"], one["parent"], one.get("child", ""),
                one.get("token", FIRST))  # fmt: skip
    found[one["document"]].append(span)


def _wrong(one: dict[str, Any]) -> list[str]:
    reasons = [f"no {key!r}" for key in _NEEDED if key not in one]
    reasons += [f"unknown key {k!r}{nearest(k, _KEYS)}" for k in one if k not in _KEYS]
    for key, kinds in (("document", str), ("child", str), ("parent", (str, type(None)))):
        if key in one and not isinstance(one[key], kinds):
            reasons.append(f"{key!r} is {one[key]!r}; wanted a string")
    start, end = one.get("start"), one.get("end")
    if type(start) is not int or type(end) is not int:
        reasons.append(f"characters {start!r} to {end!r}; wanted two whole numbers")
    elif not 0 <= start < end:
        reasons.append(f"characters {start} to {end}; wanted 0 <= start < end")
    if one.get("token", FIRST) not in TOKENS:
        reasons.append(f"'token' is {one['token']!r}; known: {', '.join(TOKENS)}")
    return reasons


def _overlaps(by_document: dict[str, list[Span]]) -> list[str]:
    reasons = []
    for name, spans in by_document.items():
        ordered = sorted(spans, key=lambda one: (one.start, one.end))
        reasons += [
            f"in {name!r}, characters {one.start}-{one.end} ({one.parent}) and "
            f"{two.start}-{two.end} ({two.parent}) overlap; put them into two files"
            for one, two in zip(ordered, ordered[1:], strict=False)
            if two.start < one.end
        ]
    return reasons
