"""Labels of Python source: what each lexical token is, by Python's own tokenizer."""

from __future__ import annotations

import ast
import builtins
import io
import keyword
import token as kinds
import tokenize
import warnings
from collections.abc import Iterator

from monosemy.data.documents import Document
from monosemy.data.labels.spans import FIRST, LAST, Hierarchy, Span

_CONSTANTS = frozenset(["True", "False", "None"])
_PUNCTUATION = frozenset([",", ":", ";", ".", "->", "@", "...", ":="])
_BRACKETS = "()[]{}"
_CLOSED_BY = {")": "(", "]": "[", "}": "{"}
_EXCEPTIONS = frozenset(
    name
    for name, value in vars(builtins).items()
    if isinstance(value, type) and issubclass(value, BaseException)
)
# What only an interactive session has, and constants.
_NO_BUILTINS = {"Ellipsis", "NotImplemented", "copyright", "credits", "license", "exit", "quit"}
_BUILTINS = frozenset(name for name in vars(builtins) if not name.startswith("_"))
_BUILTINS = _BUILTINS - _EXCEPTIONS - _CONSTANTS - _NO_BUILTINS


def lexical(document: Document) -> list[Span] | None:
    """Keywords, constants, built-ins, exceptions, operators, brackets, literals, comments, ...

    Other names are examples of what none of these is. The last token stands for a name, because its
    first letters do not say which it is; the first for a string or a comment.
    """
    found = _tokens(document.text)
    if found is None:
        return None
    spans, before = [], ""
    for start, end, kind, text in found:
        spans.append(_lexical(start, end, kind, text, after_dot=before == "."))
        before = text
    return [span for span in spans if span.end > span.start]


def _lexical(start: int, end: int, kind: str, text: str, after_dot: bool) -> Span:
    if kind == "NAME":
        return Span(start, end, _name(text, after_dot), text, LAST)
    if kind == "OP":
        parent = "bracket" if text in _BRACKETS else "operator"
        return Span(start, end, "punctuation" if text in _PUNCTUATION else parent, text)
    if kind == "NUMBER":
        return Span(start, end, "number", _number(text))
    if kind == "COMMENT":
        return Span(start, end, "comment", "comment")
    return Span(start, end, "string", _string(text))


def _name(text: str, after_dot: bool) -> str | None:
    if text in _CONSTANTS:
        return "constant"
    if keyword.iskeyword(text):
        return "keyword"
    if text.startswith("__") and text.endswith("__"):
        return "dunder"
    if after_dot:  # an attribute is not the built-in of that name
        return None
    return "exception" if text in _EXCEPTIONS else "builtin" if text in _BUILTINS else None


def _number(text: str) -> str:
    lower = text.lower()
    if lower[:2] in ("0x", "0o", "0b"):
        return {"0x": "hexadecimal", "0o": "octal", "0b": "binary"}[lower[:2]]
    return "float" if set(lower) & set(".ej") else "one digit" if len(text) == 1 else "integer"


def _string(text: str) -> str:
    prefix = text[: len(text) - len(text.lstrip("rRbBuUfFtT"))].lower()
    quoted = text[len(prefix) :]
    quotes = "triple" if quoted.startswith(('"""', "'''")) else quoted[:1]
    return f"{prefix}{quotes}"


def brackets(document: Document) -> list[Span] | None:
    """For every lexical token: the innermost bracket that it stands in, and how deep that is."""
    found = _tokens(document.text)
    if found is None:
        return None
    spans, opened = [], list[str]()
    for start, end, kind, text in found:
        if kind == "OP" and text in _CLOSED_BY and opened:
            opened.pop()
        elif kind == "OP" and text in _CLOSED_BY.values():
            opened.append(text)
            continue
        parent = f"in {opened[-1]}{_closing(opened[-1])}" if opened else None
        depth = f"depth {min(len(opened), 4)}" if opened else ""
        spans.append(Span(start, end, parent, depth, LAST if kind == "NAME" else FIRST))
    return [span for span in spans if span.end > span.start]


def _closing(opening: str) -> str:
    return next(closing for closing, one in _CLOSED_BY.items() if one == opening)


def _tokens(text: str) -> list[tuple[int, int, str, str]] | None:
    """(first character, end, kind, text) of every lexical token, or `None`: this is no Python."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd escapes in other people's strings
            ast.parse(text)
        return list(_located(text))
    except (SyntaxError, ValueError, RecursionError, MemoryError, tokenize.TokenError):
        return None


def _located(text: str) -> Iterator[tuple[int, int, str, str]]:
    begins = _line_starts(text)
    wanted = {"NAME", "OP", "NUMBER", "STRING", "FSTRING_START", "TSTRING_START", "COMMENT"}
    for one in tokenize.generate_tokens(io.StringIO(text, newline="").readline):
        kind = kinds.tok_name[one.type]
        if kind in wanted:
            start, end = (begins[row - 1] + column for row, column in (one.start, one.end))
            yield start, end, kind, one.string


def _line_starts(text: str) -> list[int]:
    # Lines as the tokenizer reads them: str.splitlines would also break at form feeds.
    starts, at = [0], 0
    for line in io.StringIO(text, newline=""):
        at += len(line)
        starts.append(at)
    return starts


PYTHON = Hierarchy(
    "python",
    "lexical classes of Python source: keyword (def, return, ...), built-in, operator, string, ...",
    lexical,
)
BRACKETS = Hierarchy(
    "python-brackets",
    "which bracket a piece of Python source stands in: (), [], {}, and how deep",
    brackets,
)
