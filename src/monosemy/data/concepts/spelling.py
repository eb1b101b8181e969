"""How a token is written: letters, capitals, length, and its place in a word."""

from __future__ import annotations

import string
from collections.abc import Iterator

from monosemy.data.concepts.sets import Concept, ConceptSet, ConceptSource

_LONGEST = 8
_DECLARED = """
has a letter | kind | a letter of any alphabet
has a digit | kind | a figure
all digits < has a digit | kind | nothing else
has punctuation | kind | a character that is no letter, digit or space
all punctuation < has punctuation | kind | nothing else
all space | kind | nothing else
ends a line | kind | holds the end of a line
several characters of space < all space | kind | two at least
space before | kind | begins with a space, and has more
starts a word < has a letter | place | a letter comes first, and none is before it
continues a word < has a letter | place | a letter comes first, and one is before it
ends a word < has a letter | place | a letter comes last, and none is behind it
breaks off in a word < has a letter | place | a letter comes last, and one is behind it
whole word < starts a word, ends a word | place | starts a word and ends it
has a capital < has a letter | case | a large letter
capital first < has a capital | case | a large letter, then no other
all capitals < has a capital | case | two letters at least, all large
capital inside < has a capital | case | a small letter before a large one
no capital < has a letter | case | small letters only
has an underscore < has punctuation | kind | _
not ASCII | kind | a character beyond ASCII
"""


def _concepts() -> Iterator[Concept]:
    for line in _DECLARED.strip().split("\n"):
        head, group, about = line.split(" | ")
        name, _, parents = head.partition(" < ")
        yield Concept(name, group, about, tuple(parents.split(", ")) if parents else ())
    for size in range(1, _LONGEST + 1):
        said = f"{size}" if size < _LONGEST else f"{size} or more"
        yield Concept(f"length {said}", "length", f"{said} characters, space around left out")
    for letter in string.ascii_lowercase:
        above = ("has a letter",)
        yield Concept(f"first letter {letter}", "first letter", f"begins with {letter}", above)
        yield Concept(f"last letter {letter}", "last letter", f"ends with {letter}", above)


def spelled(text: str, begin: int, end: int) -> list[str]:
    """Names of what characters `begin` to `end` of a text are; letters in either case."""
    piece = text[begin:end]
    inner = piece.strip()
    found = ["ends a line"] if "\n" in piece or "\r" in piece else []
    if not piece.isascii():
        found.append("not ASCII")
    if not inner:
        return [*found, "several characters of space" if len(piece) > 1 else "all space"]
    if piece[0] == " ":
        found.append("space before")
    size = len(inner)
    found.append(f"length {size}" if size < _LONGEST else f"length {_LONGEST} or more")
    return [*found, *_kinds(inner), *_place(text, begin, end), *_case(inner), *_letters(inner)]


def _kinds(inner: str) -> Iterator[str]:
    marks = [not (c.isalnum() or c.isspace()) for c in inner]
    if any(c.isalpha() for c in inner):
        yield "has a letter"
    if any(c.isdigit() for c in inner):
        yield "all digits" if inner.isdigit() else "has a digit"
    if any(marks):
        yield "all punctuation" if all(marks) else "has punctuation"
    if "_" in inner:
        yield "has an underscore"


def _place(text: str, begin: int, end: int) -> Iterator[str]:
    piece = text[begin:end]
    first = begin + len(piece) - len(piece.lstrip())
    last = end - (len(piece) - len(piece.rstrip()))
    starts = ends = False
    if text[first].isalpha():
        starts = not (first and text[first - 1].isalpha())
        yield "starts a word" if starts else "continues a word"
    if text[last - 1].isalpha():
        ends = not text[last : last + 1].isalpha()
        yield "ends a word" if ends else "breaks off in a word"
    if starts and ends and text[first:last].isalpha():
        yield "whole word"


def _case(inner: str) -> Iterator[str]:
    letters = [c for c in inner if c.isalpha()]
    large = [c.isupper() for c in letters]
    if not letters:
        return
    if not any(large):
        yield "no capital"
        return
    yield "has a capital"
    if large[0] and not any(large[1:]):
        yield "capital first"
    if len(large) > 1 and all(large):
        yield "all capitals"
    if any(big and not before for before, big in zip(large, large[1:], strict=False)):
        yield "capital inside"


def _letters(inner: str) -> Iterator[str]:
    for at, name in ((0, "first"), (-1, "last")):
        letter = inner[at].lower()
        if letter in string.ascii_lowercase:
            yield f"{name} letter {letter}"


SPELLING = ConceptSource(
    "spelling",
    "how tokens are written: letters, capitals, length, place in a word",
    ConceptSet(tuple(_concepts())),
    of_tokens=spelled,
)
