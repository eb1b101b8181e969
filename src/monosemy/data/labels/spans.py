"""Spans: pieces of a text that a hierarchy labels with a parent and a child."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from monosemy.data.documents import Document

FIRST, LAST = "first", "last"
TOKENS = (FIRST, LAST)


@dataclass(frozen=True)
class Span:
    """Characters `start` to `end` of a document, and what they are.

    Attributes
    ----------
    parent : the general label (``keyword``); `None` for a piece that has none of the labels, which
        is an example of what they are not.
    child : the particular one (``return``); empty for the text of the token that stands for it.
    token : which token stands for the span: the `FIRST`, or the `LAST`, where a model that reads
        from left to right has seen all of it.
    """

    start: int
    end: int
    parent: str | None
    child: str = ""
    token: str = FIRST


Spans = Callable[[Document], Sequence[Span] | None]
"""The spans of a document, apart from each other, in order; `None` where it is of another kind."""


@dataclass(frozen=True)
class Hierarchy:
    """Parent labels with children, and how a text shows them.

    Attributes
    ----------
    name, about : what it is called, and a line about it.
    spans : finds them in a document.
    rest : whether tokens outside every span are examples of what no label means. Else only tokens
        that stand for a span are looked at.
    """

    name: str
    about: str
    spans: Spans
    rest: bool = False
