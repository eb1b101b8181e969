"""Concepts: what a token may be, several at once, and which concept is a kind of which."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter

from monosemy.data.documents import Document
from monosemy.foundation.errors import nearest, refuse

EVERY, LAST = "every", "last"
TOKENS = (EVERY, LAST)


@dataclass(frozen=True)
class Concept:
    """Something that a piece of text is or is not.

    Attributes
    ----------
    name : unique in its set.
    group : what it is listed under.
    about : a line that says when a token has it.
    parents : concepts that hold wherever this one does.
    token : whether `EVERY` token inside a piece has it, or only the `LAST`, where a model that reads
        from left to right has seen all of it. Earlier tokens of that piece are then left out.
    """

    name: str
    group: str
    about: str
    parents: tuple[str, ...] = ()
    token: str = EVERY


@dataclass(frozen=True)
class ConceptSet:
    """Concepts whose parents are in the set too, without a cycle.

    Errors
    ------
    `UserError` with every reason: a name twice, a parent that is not there, an unknown `token`, a
    cycle.
    """

    concepts: tuple[Concept, ...]

    def __post_init__(self) -> None:
        known, reasons = set[str](), list[str]()
        for one in self.concepts:
            if one.name in known:
                reasons.append(f"concept {one.name!r} is there twice; give each its own name")
            known.add(one.name)
            if one.token not in TOKENS:
                reasons.append(f"token = {one.token!r} of {one.name!r}; known: {', '.join(TOKENS)}")
        for one in self.concepts:
            reasons += [
                f"parent {parent!r} of {one.name!r} is no concept of this set{nearest(parent, known)}"
                for parent in one.parents
                if parent not in known
            ]
        try:
            TopologicalSorter({one.name: one.parents for one in self.concepts}).prepare()
        except CycleError as error:
            circle = " < ".join(error.args[1])
            reasons.append(f"concepts are their own ancestors: {circle}; take one parent away")
        refuse(reasons, "this set of concepts")

    def __len__(self) -> int:
        return len(self.concepts)

    @property
    def names(self) -> tuple[str, ...]:
        """In order."""
        return tuple(one.name for one in self.concepts)

    @cached_property
    def number(self) -> dict[str, int]:
        """Place of each name."""
        return {name: number for number, name in enumerate(self.names)}

    @cached_property
    def with_ancestors(self) -> tuple[tuple[int, ...], ...]:
        """Of each concept: its own number and those of all ancestors."""
        return tuple(tuple(sorted(self._above(one))) for one in self.concepts)

    def _above(self, one: Concept) -> set[int]:
        found = {self.number[one.name]}
        for parent in one.parents:
            found |= self._above(self.concepts[self.number[parent]])
        return found


Mark = tuple[int, int, str]
"""First character, end, and the name of the concept that they have, most particular first."""

Marks = Callable[[Document], Sequence[Mark] | None]
"""What a document shows, in any order; `None` where it is of another kind."""


@dataclass(frozen=True)
class ConceptSource:
    """A set of concepts, and how a text shows them.

    Attributes
    ----------
    name, about : what it is called, and a line about it.
    concepts : all there are.
    marks : finds pieces of a document that have them. Ancestors need no mark of their own.
    of_tokens : instead of `marks`, says it of a token from its characters and those around:
        ``of_tokens(text, begin, end)`` gives names.
    """

    name: str
    about: str
    concepts: ConceptSet
    marks: Marks | None = None
    of_tokens: Callable[[str, int, int], Sequence[str]] | None = None
