"""What Python's tokenizer says of source: strings, comments, words, signs, brackets, lines."""

from __future__ import annotations

import io
import keyword
import re
import token as kinds
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from monosemy.data.concepts.lines import Lines
from monosemy.data.concepts.python_words import (
    BUILTIN_NAMES,
    EXCEPTION_NAMES,
    FAMILIES,
    KEYWORDS,
    SIGNS,
)
from monosemy.data.concepts.sets import Mark

NAME, OP, NUMBER, STRING, COMMENT = "NAME", "OP", "NUMBER", "STRING", "COMMENT"
NEWLINE, NL = "NEWLINE", "NL"
_BEGINS, _ENDS = ("FSTRING_START", "TSTRING_START"), ("FSTRING_END", "TSTRING_END")
_CONSTANTS = frozenset(KEYWORDS["constant"].split())
_KNOWN_SIGNS = frozenset(sign for signs in SIGNS.values() for sign in signs.split())
_OPENING, _CLOSING = "([{", ")]}"
_NOTES = re.compile(r"\b(?:TODO|FIXME|XXX|HACK|NOTE)\b")
_TOOLS = re.compile(r"#(?:!|\s*(?:type:|noqa|pragma|pylint|-\*-|coding))")
_CONVERSION = re.compile(r"%[-#0+ ]*\d*(?:\.\d+)?[sdrixfgc]")
_BLOCKS = frozenset(
    ["if", "elif", "else", "for", "while", "try", "except", "finally", "with", "def", "class",
     "async", "match", "case"]
)  # fmt: skip


@dataclass(frozen=True)
class Word:
    """One lexical token: first character, end, kind, text, and the row it begins in."""

    start: int
    end: int
    kind: str
    text: str
    row: int

    @property
    def is_operand(self) -> bool:
        """Whether a sign behind it stands between two operands."""
        if self.kind == NAME:
            return not keyword.iskeyword(self.text) or self.text in _CONSTANTS
        return self.kind in (NUMBER, STRING) or (self.kind == OP and self.text in _CLOSING)


def words_of(text: str, lines: Lines) -> list[Word]:
    """All lexical tokens that have characters, and ends of lines; an f-string is one string.

    Errors
    ------
    What `tokenize` raises where it does not understand.
    """
    found, opened = list[Word](), list[tuple[int, int]]()
    for one in tokenize.generate_tokens(io.StringIO(text, newline="").readline):
        kind = kinds.tok_name[one.type]
        start, end = lines.at(*one.start), lines.at(*one.end)
        if kind in _BEGINS:
            opened.append((start, one.start[0]))
        elif kind in _ENDS:
            begin, row = opened.pop()
            if not opened:
                found.append(Word(begin, end, STRING, text[begin:end], row))
        elif kind in (NAME, OP, NUMBER, STRING, COMMENT, NEWLINE, NL) and not opened:
            found.append(Word(start, end, kind, one.string, one.start[0]))
    return found


def lexical_marks(lines: Lines, words: Sequence[Word]) -> Iterator[Mark]:
    """Marks that need no syntax tree."""
    yield from _line_marks(lines, words)
    opened, reached, head = list[str](), 0, ""
    code = [word for word in words if word.kind not in (NL, COMMENT)]
    after = {one.start: two for one, two in zip(code, code[1:], strict=False)}
    before: Word | None = None
    for word in words:
        opens, closes = (word.kind == OP and word.text in signs for signs in (_OPENING, _CLOSING))
        yield from _in_brackets(reached, word.start if opens or closes else word.end, opened)
        if closes and opened:
            opened.pop()
        if opens or closes:
            yield from _in_brackets(word.start, word.end, opened)
        yield from _of_word(word, before, after.get(word.start), opened, head)
        if opens:
            opened.append(word.text)
        reached = word.end
        if word.kind == NEWLINE:
            head, before = "", None
        elif word.kind not in (NL, COMMENT):
            head, before = head or word.text, word
    yield from _comments(words)


def _in_brackets(start: int, end: int, opened: Sequence[str]) -> Iterator[Mark]:
    if opened:
        yield start, end, f"in {opened[-1]}"
        depth = len(opened)
        yield start, end, f"bracket depth {depth}" if depth < 4 else "bracket depth 4 or more"


def _of_word(
    word: Word, before: Word | None, after: Word | None, opened: Sequence[str], head: str
) -> Iterator[Mark]:
    if word.kind == NAME:
        names = _name(word.text, before)
    elif word.kind == OP:
        names = _sign(word, before, after, opened, head)
    elif word.kind == NUMBER:
        names = _number(word.text)
    elif word.kind == STRING:
        yield from string_marks(word)
        return
    else:
        return
    for name in names:
        yield word.start, word.end, name


def _name(text: str, before: Word | None) -> Iterator[str]:
    if text in _CONSTANTS or keyword.iskeyword(text):
        yield f"keyword {text}"
        return
    after_dot = before is not None and before.text == "."
    yield "name"
    yield from _style(text)
    if after_dot:
        yield "attribute"
        if text in FAMILIES["attribute"]:
            yield f"attribute {text}"
    elif text in BUILTIN_NAMES:
        yield f"builtin {text}" if text in FAMILIES["builtin"] else "builtin"
    elif text in EXCEPTION_NAMES:
        yield f"exception name {text}" if text in FAMILIES["exception name"] else "exception name"


def _style(text: str) -> Iterator[str]:
    if len(text) > 4 and text.startswith("__") and text.endswith("__"):
        yield f"dunder {text}" if text in FAMILIES["dunder"] else "dunder"
        return
    if text in ("self", "cls"):
        yield text
    bare = text.strip("_")
    if len(text) == 1 and text != "_":
        yield "name of one letter"
    elif bare.isupper() and len(bare) > 1:
        yield "CONSTANT_CASE"
    elif bare[:1].isupper() and "_" not in bare and not bare.isupper():
        yield "CamelCase"
    elif bare.islower():
        yield "snake_case" if "_" in bare else "lower-case name"
    if text.startswith("_") and not text.startswith("__") and bare:
        yield "name with _ before"
    if any(c.isdigit() for c in text):
        yield "name with a digit"


def _sign(
    word: Word, before: Word | None, after: Word | None, opened: Sequence[str], head: str
) -> Iterator[str]:
    text, binary = word.text, before is not None and before.is_operand
    innermost = opened[-1] if opened else ""
    if text in "*-+" or text == "**":
        if not binary:
            yield "star that unpacks" if "*" in text else "sign of a number"
            return  # neither multiplies nor subtracts
        if text == "*":
            yield "star that multiplies"
        if text == "-":
            yield "binary minus"
    if text in _KNOWN_SIGNS:
        yield f"sign {text}"
    if text == "=":
        yield "= of an argument or default" if innermost == "(" else "= of a statement"
    elif text == ":":
        opens = not opened and head in _BLOCKS and (after is None or after.kind == NEWLINE)
        kinds_of = {"": "colon of a block" if opens else "", "[": "colon of a slice or annotation",
                    "(": "colon of a slice or annotation", "{": "colon of a dictionary"}  # fmt: skip
        if kinds_of[innermost]:
            yield kinds_of[innermost]
    elif text == ",":
        yield f"comma in {innermost}" if innermost else "comma outside brackets"


def _number(text: str) -> Iterator[str]:
    lower = text.lower()
    if lower[:2] in ("0x", "0o", "0b"):
        yield {"0x": "hexadecimal", "0o": "octal", "0b": "binary"}[lower[:2]]
    elif "j" in lower:
        yield "imaginary"
    elif set(lower) & set(".e"):
        yield "float"
    else:
        yield "one digit" if len(text) == 1 else "several digits"
        if text in ("0", "1"):
            yield {"0": "zero", "1": "one"}[text]


# --- strings and comments -------------------------------------------------------------------------


def string_marks(word: Word) -> Iterator[Mark]:
    """Kinds of quotation marks and prefixes, and the parts of an f-string."""
    text = word.text
    prefix = text[: len(text) - len(text.lstrip("rRbBuUfFtT"))].lower()
    quoted = text[len(prefix) :]
    triple = quoted.startswith(('"""', "'''"))
    yield word.start, word.end, "triple-quoted string" if triple else f"string in {quoted[0]}"
    wide = 3 if triple else 1
    begin, end = len(prefix) + wide, len(text) - wide
    for letter, name in (("r", "raw string"), ("b", "bytes"), ("f", "f-string")):
        if letter in prefix:
            yield word.start, word.end, name
    if end <= begin:
        yield word.start, word.end, "empty string"
    if "f" in prefix:
        for start, stop, inside in f_string_parts(text, begin, end):
            name = "f-string expression" if inside else "f-string text"
            yield word.start + start, word.start + stop, name


def f_string_parts(text: str, begin: int, end: int) -> Iterator[tuple[int, int, bool]]:
    """(start, end, whether between braces) of the inside of an f-string, braces with what they hold.

    Written out because `ast` gives wrong places inside f-strings before Python 3.12. A nested
    string may hold braces; its quotation marks are other ones than those around, before 3.12.
    """
    at = first = begin
    while at < end:
        if text[at : at + 2] in ("{{", "}}"):
            at += 2
        elif text[at] == "{":
            if at > first:
                yield first, at, False
            stop = _closes(text, at, end)
            yield at, stop, True
            at = first = stop
        else:
            at += 1
    if first < end:
        yield first, end, False


def _closes(text: str, at: int, end: int) -> int:
    """Behind the brace that closes the one at `at`."""
    depth, quote = 0, ""
    for i in range(at, end):
        one = text[i]
        if quote:
            quote = "" if one == quote else quote
        elif one in "'\"":
            quote = one
        elif one in "{[(":
            depth += 1
        elif one in ")]}":
            depth -= 1
            if not depth:
                return i + 1
    return end


def string_content_marks(word: Word) -> Iterator[Mark]:
    """What a string that is no docstring holds."""
    yield word.start, word.end, "string that is no docstring"
    held = {
        "string with a space": " " in word.text.strip(),
        "string with %": _CONVERSION.search(word.text) is not None,
        "string with an escape": "\\" in word.text,
        "string with a brace": "{" in word.text and "f" not in word.text[:2].lower(),
    }
    for name, true in held.items():
        if true:
            yield word.start, word.end, name


def _comments(words: Sequence[Word]) -> Iterator[Mark]:
    rows_of_code = {word.row for word in words if word.kind not in (NL, NEWLINE, COMMENT)}
    alone = {w.row for w in words if w.kind == COMMENT and w.row not in rows_of_code}
    for word in words:
        if word.kind != COMMENT:
            continue
        yield (
            word.start,
            word.end,
            "comment of its own line" if word.row in alone else ("comment behind code"),
        )
        if word.row in alone and word.row - 1 in alone:
            yield word.start, word.end, "comment that goes on"
        if _NOTES.search(word.text):
            yield word.start, word.end, "comment that notes"
        if _TOOLS.match(word.text):
            yield word.start, word.end, "comment of code tools"


# --- lines ----------------------------------------------------------------------------------------


def _line_marks(lines: Lines, words: Sequence[Word]) -> Iterator[Mark]:
    goes_on, rows = False, dict[int, list[Word]]()
    for word in words:
        rows.setdefault(word.row, []).append(word)
    inside_strings = {
        row
        for word in words
        if word.kind == STRING
        for row in range(word.row + 1, word.row + word.text.count("\n") + 1)
    }
    first_line = True
    for row in range(1, len(lines) + 1):
        start, end, line = lines.start(row), lines.start(row + 1), lines.text(row)
        if not line.strip():
            if row not in inside_strings:
                yield start, end, "blank line"
            continue
        if first_line:
            yield start, end, "first line of a file"
            first_line = False
        code = [word for word in rows.get(row, []) if word.kind not in (NL, NEWLINE, COMMENT)]
        if row not in inside_strings and code:
            wide = len(line) - len(line.lstrip(" \t\f"))
            yield from _indented(start, end, wide, len(line[:wide].expandtabs(8)))
            if goes_on:
                yield start, end, "line that goes on"
            yield code[0].start, code[0].end, "first word of a line"
            yield code[-1].start, code[-1].end, "last word of a line"
        for word in rows.get(row, []):
            if word.kind in (NEWLINE, NL) and word.end > word.start:
                yield word.start, word.end, "end of a line"
            if word.kind in (NEWLINE, NL) and code:
                goes_on = word.kind == NL


def _indented(start: int, end: int, wide: int, columns: int) -> Iterator[Mark]:
    level = -(-columns // 4) * 4
    said = "16 or more" if level >= 16 else f"{level}"
    if level:
        yield start, start + wide, f"indentation {said}"
    yield start, end, f"line at column {said}"
