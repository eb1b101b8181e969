"""From spans of characters to labels of tokens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from monosemy.data.documents import Document
from monosemy.data.labels.spans import FIRST, Hierarchy, Span
from monosemy.data.text import Corpus
from monosemy.data.tokens import NOWHERE, Contexts
from monosemy.foundation.errors import UserError
from monosemy.tensors.axes import Bool, Int, Tensor

NOTHING = -1
"""Parent or child of a token that has none."""


@dataclass(frozen=True, eq=False)
class Labels:
    """What the tokens of a text are; tokens that say nothing clear are left out.

    Attributes
    ----------
    hierarchy : its name.
    parents : names of the parent labels, sorted.
    children : (parent, child), sorted.
    rows : the kept tokens (context-major, from 0) that are looked at.
    parent, child : index into `parents` and `children`, or `NOTHING`.
    document : index into `documents`.
    documents : names of the documents read.
    strangers : how many documents are of another kind, and have no token here.
    """

    hierarchy: str
    parents: tuple[str, ...]
    children: tuple[tuple[str, str], ...]
    rows: Int[Tensor, "token"]
    parent: Int[Tensor, "token"]
    child: Int[Tensor, "token"]
    document: Int[Tensor, "token"]
    documents: tuple[str, ...]
    strangers: int = 0

    def __len__(self) -> int:
        return len(self.rows)

    def is_(self, parent: str) -> Bool[Tensor, "token"]:
        """Which tokens have this parent."""
        return self.parent == self.parents.index(parent)


def label(hierarchy: Hierarchy, corpus: Corpus, contexts: Contexts) -> Labels:
    """The labels that `hierarchy` gives to the kept tokens of `contexts`, packed from `corpus`.

    A token gets the label of a span where it lies inside (spaces around it do not count) and is the
    one that stands for it. A token that reaches over the edge of a span, or lies in the middle, is
    left out: nobody could say what it should be.

    Errors
    ------
    `UserError` where no token gets any label, and for contexts of another corpus.
    """
    texts = documents_of(corpus, contexts)
    found, strangers = list[tuple[int, int, str | None, str]](), 0
    for index, columns in places(contexts):
        document = texts[contexts.documents[index]]
        spans = hierarchy.spans(document)
        if spans is None:
            strangers += 1
            continue
        for row, parent, child in _assigned(document.text, columns, spans, hierarchy.rest):
            found.append((row, index, parent, child))
    if not any(parent is not None for _, _, parent, _ in found):
        raise UserError(
            f"hierarchy {hierarchy.name!r} labels no token of {corpus.name} ({corpus.split}): "
            f"{hierarchy.about}; name another (--hierarchy), or read more tokens"
        )
    return _labels(hierarchy.name, found, contexts.documents, strangers)


def documents_of(corpus: Corpus, contexts: Contexts) -> dict[str, Document]:
    """The documents that `contexts` were packed from, by name.

    Errors
    ------
    `UserError` for contexts of another corpus.
    """
    texts = {document.name: document for document in corpus.documents}
    missing = [name for name in contexts.documents if name not in texts]
    if missing:
        raise UserError(
            f"document {missing[0]!r} of these contexts is not in {corpus.name} ({corpus.split}); "
            "label the corpus that they were packed from"
        )
    return texts


def joined(parts: Sequence[Labels]) -> Labels:
    """Labels of several texts as one: rows and documents count on from part to part.

    `rows` then number the looked-at tokens of all parts, one part after the other.
    """
    parents = tuple(sorted({name for part in parts for name in part.parents}))
    children = tuple(sorted({pair for part in parts for pair in part.children}))
    firsts = np.cumsum([0, *(len(part.documents) for part in parts)]).tolist()
    return replace(
        parts[0],
        parents=parents,
        children=children,
        rows=torch.arange(sum(len(part) for part in parts)),
        parent=torch.cat([_renumbered(part.parent, part.parents, parents) for part in parts]),
        child=torch.cat([_renumbered(part.child, part.children, children) for part in parts]),
        document=torch.cat([p.document + first for p, first in zip(parts, firsts, strict=False)]),
        documents=tuple(name for part in parts for name in part.documents),
        strangers=sum(part.strangers for part in parts),
    )


def _renumbered(
    numbers: Int[Tensor, "token"], old: Sequence[object], new: Sequence[object]
) -> Int[Tensor, "token"]:
    place = {name: i for i, name in enumerate(new)}
    table = torch.tensor([*(place[name] for name in old), NOTHING])
    return table[numbers]  # NOTHING is -1, the last of the table


def places(contexts: Contexts) -> Iterator[tuple[int, Int[Tensor, "token _"]]]:
    """By document: (kept row, first character, first character of the next token) of tokens.

    The last token has no next one: what it covers is unknown where the budget cut the document, so
    it is left out.
    """
    kept = contexts.kept.flatten()
    row = torch.where(kept, kept.cumsum(0) - 1, NOTHING)
    offset, document = contexts.offset.flatten().long(), contexts.document.flatten().long()
    there = offset != NOWHERE
    row, offset, document = row[there], offset[there], document[there]
    follows = document[1:] == document[:-1]
    known = follows & (row[:-1] != NOTHING)
    columns = torch.stack([row[:-1], offset[:-1], offset[1:]], 1)[known]
    owner = document[:-1][known]
    for index in owner.unique().tolist():
        yield index, columns[owner == index]


def _assigned(
    text: str, places: Int[Tensor, "token _"], spans: Sequence[Span], rest: bool
) -> Iterator[tuple[int, str | None, str]]:
    """(row, parent, child) of the tokens that are looked at."""
    starts = np.array([span.start for span in spans], dtype=np.int64)
    ends = np.array([span.end for span in spans], dtype=np.int64)
    for row, begin, end in places.tolist():
        piece = text[begin:end]
        inner = piece.strip()
        if not inner:
            continue
        first = begin + len(piece) - len(piece.lstrip())
        last = first + len(inner)
        near = int(np.searchsorted(starts, first, side="right")) - 1
        if near >= 0 and last <= ends[near]:
            span = spans[near]
            stands = first == span.start if span.token == FIRST else last == span.end
            if stands:
                yield row, span.parent, span.child or inner.lower()
        elif rest and not _touches(starts, ends, near, first, last):
            yield row, None, ""


def _touches(starts: np.ndarray, ends: np.ndarray, near: int, first: int, last: int) -> bool:
    """Whether characters `first` to `last` meet the span before them or the next one."""
    before = near >= 0 and ends[near] > first
    after = near + 1 < len(starts) and starts[near + 1] < last
    return bool(before or after)


def _labels(
    name: str, found: Sequence[tuple[int, int, str | None, str]], documents: tuple[str, ...],
    strangers: int,
) -> Labels:  # fmt: skip
    pairs = sorted({(parent, child) for _, _, parent, child in found if parent is not None})
    parents = tuple(sorted({parent for parent, _ in pairs}))
    parent_of = _numbers(parents)
    child_of = _numbers(pairs)
    columns = [
        (row, parent_of.get(parent, NOTHING), child_of.get((parent, child), NOTHING), document)
        for row, document, parent, child in sorted(found, key=lambda one: one[0])
    ]
    rows, parent, child, document = torch.tensor(columns, dtype=torch.int64).T
    return Labels(name, parents, tuple(pairs), rows, parent, child, document, documents, strangers)


def _numbers(names: Sequence[object]) -> Mapping[object, int]:
    return {name: number for number, name in enumerate(names)}
