"""From marked characters to tokens: which token has which concept, and where nobody can say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse
import torch

from monosemy.data.concepts.sets import LAST, ConceptSet, ConceptSource, Mark
from monosemy.data.labels.labelling import documents_of, places
from monosemy.data.labels.sampling import evenly
from monosemy.data.text import Corpus
from monosemy.data.tokens import Contexts
from monosemy.foundation.errors import UserError
from monosemy.foundation.progress import SILENT, Progress
from monosemy.tensors.axes import Int, Tensor

Pairs = tuple[np.ndarray, np.ndarray]
"""Tokens, and beside each the number of a concept."""
Pieces = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Number of a concept, first character, end."""


@dataclass(frozen=True, eq=False)
class ConceptTable:
    """Tokens by concepts, as two sparse matrices of truth values.

    Attributes
    ----------
    source : name of the concepts' source.
    concepts : the columns.
    rows : which kept tokens (context-major, from 0) of the contexts are looked at.
    has : CSR ``[token, concept]``: where the token has the concept.
    unsure : CSR ``[token, concept]``: where the token reaches over an edge, or is not the one that
        stands for its piece, so that it counts neither as having the concept nor as lacking it.
    document : index into `documents` of each token.
    documents : names of the documents read.
    strangers : documents of another kind, which have no token here.
    """

    source: str
    concepts: ConceptSet
    rows: Int[Tensor, "token"]
    has: scipy.sparse.csr_array
    unsure: scipy.sparse.csr_array
    document: Int[Tensor, "token"]
    documents: tuple[str, ...]
    strangers: int = 0

    def __len__(self) -> int:
        return len(self.rows)


def align(
    source: ConceptSource, corpus: Corpus, contexts: Contexts, progress: Progress = SILENT
) -> ConceptTable:
    """Which kept tokens of `contexts`, packed from `corpus`, have which concepts.

    A token has a concept where all its characters (spaces around them aside) are marked with it,
    and lacks it where none is. Between the two it is unsure. Of a concept that its last token stands
    for, the earlier tokens of the piece are unsure too. A mark holds for all ancestors.

    Errors
    ------
    `UserError` where no token has any concept, and for contexts of another corpus.
    """
    texts = documents_of(corpus, contexts)
    rows, owner, strangers, done = list[np.ndarray](), list[np.ndarray](), 0, 0
    has, unsure = list[Pairs](), list[Pairs]()
    with progress.task("label tokens", len(contexts.documents), "documents") as task:
        for index, columns in places(contexts):
            task.advance()
            document = texts[contexts.documents[index]]
            marked = source.marks(document) if source.marks else []
            if marked is None:
                strangers += 1
                continue
            row, begin, end = columns.numpy().T
            seen = end > begin  # a token whose bytes are part of one character covers none
            row, first, last = row[seen], *_trimmed(document.text, begin[seen], end[seen])
            if source.of_tokens:
                yes = _of_tokens(source, document.text, begin[seen], end[seen])
                no = (np.empty(0, np.int64), np.empty(0, np.int64))
            else:
                yes, no = _of_marks(source.concepts, marked, first, last)
            has.append((yes[0] + done, yes[1]))
            unsure.append((no[0] + done, no[1]))
            rows.append(row)
            owner.append(np.full(len(row), index))
            done += len(row)
    if not any(len(one[0]) for one in has):
        raise UserError(
            f"concepts {source.name!r} are on no token of {corpus.name} ({corpus.split}): "
            f"{source.about}; name others (--concepts), or read more tokens"
        )
    # Documents come in the order of their tokens, so rows rise.
    shape = (done, len(source.concepts))
    return ConceptTable(
        source.name, source.concepts, torch.from_numpy(np.concatenate(rows)),
        matrix(has, shape), matrix(unsure, shape), torch.from_numpy(np.concatenate(owner)),
        contexts.documents, strangers,
    )  # fmt: skip


def spread(contexts: Contexts, table: ConceptTable, tokens: int) -> tuple[Contexts, ConceptTable]:
    """About `tokens` of the kept tokens, in contexts that lie evenly over all, with their concepts.

    The first so many tokens would be a few documents, and folds and intervals go by document.
    """
    fewer, left = evenly(contexts, tokens)
    if fewer is contexts:
        return contexts, table
    taken = left[table.rows]
    which = taken.numpy().nonzero()[0]
    return fewer, ConceptTable(
        table.source, table.concepts, (left.cumsum(0) - 1)[table.rows[taken]],
        table.has[which], table.unsure[which], table.document[taken], table.documents,
        table.strangers,
    )  # fmt: skip


def matrix(pairs: Sequence[Pairs], shape: tuple[int, int]) -> scipy.sparse.csr_array:
    """Truth values at pairs of (token, concept), each at most once, as CSR."""
    tokens = np.concatenate([one[0] for one in pairs])
    concepts = np.concatenate([one[1] for one in pairs]).astype(np.int32)
    ones = np.ones(len(tokens), dtype=bool)
    return scipy.sparse.csr_array((ones, (tokens, concepts)), shape=shape)


def _trimmed(text: str, begin: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Without the spaces around; a token of nothing but space stays as it is."""
    first, last = begin.copy(), end.copy()
    for i, (a, b) in enumerate(zip(begin.tolist(), end.tolist(), strict=True)):
        piece = text[a:b]
        if piece[0].isspace() or piece[-1].isspace():
            inner = piece.strip()
            if inner:
                first[i] = a + len(piece) - len(piece.lstrip())
                last[i] = first[i] + len(inner)
    return first, last


def _of_tokens(source: ConceptSource, text: str, begin: np.ndarray, end: np.ndarray) -> Pairs:
    assert source.of_tokens is not None
    concepts, tokens, numbers = source.concepts, list[int](), list[int]()
    for i, (a, b) in enumerate(zip(begin.tolist(), end.tolist(), strict=True)):
        found = {
            above
            for name in source.of_tokens(text, a, b)
            for above in concepts.with_ancestors[concepts.number[name]]
        }
        tokens += [i] * len(found)
        numbers += found
    return np.array(tokens, dtype=np.int64), np.array(numbers, dtype=np.int64)


def _of_marks(
    concepts: ConceptSet, marked: Sequence[Mark], first: np.ndarray, last: np.ndarray
) -> tuple[Pairs, Pairs]:
    """Pairs of (token, concept) that hold, and those that are unsure."""
    spans = [
        (above, start, end)
        for start, end, name in marked
        if end > start
        for above in concepts.with_ancestors[concepts.number[name]]
    ]
    concept, start, end = np.array(spans, dtype=np.int64).reshape(-1, 3).T
    at_last = np.array([one.token == LAST for one in concepts.concepts], dtype=bool)[concept]
    united = _united(concept[~at_last], start[~at_last], end[~at_last])
    yes, no = _covered(united, first, last, only_last=False)
    apart = concept[at_last], start[at_last], end[at_last]
    yes_last, no_last = _covered(apart, first, last, only_last=True)
    size = len(concepts)
    holds = np.unique(np.concatenate([_keys(yes, size), _keys(yes_last, size)]))
    open_ = np.unique(np.concatenate([_keys(no, size), _keys(no_last, size)]))
    open_ = np.setdiff1d(open_, holds, assume_unique=True)
    return _pairs(holds, size), _pairs(open_, size)


def _keys(pairs: Pairs, size: int) -> np.ndarray:
    return pairs[0] * size + pairs[1]


def _pairs(keys: np.ndarray, size: int) -> Pairs:
    """Back from ``token * size + concept``."""
    return keys // size, keys % size


def _united(concept: np.ndarray, start: np.ndarray, end: np.ndarray) -> Pieces:
    """Pieces of the same concept that touch or overlap, as one."""
    if not len(concept):
        return concept, start, end
    order = np.lexsort((start, concept))
    concept, start, end = concept[order], start[order], end[order]
    # On one line, a concept's characters behind those of the concepts before it: a running maximum
    # then never reaches into the next concept.
    length = int(end.max()) + 2
    reach = np.maximum.accumulate(concept * length + end)
    begins = np.ones(len(concept), dtype=bool)
    begins[1:] = concept[1:] * length + start[1:] > reach[:-1]
    heads = np.flatnonzero(begins)
    ends = reach[np.append(heads[1:] - 1, len(concept) - 1)]
    return concept[heads], start[heads], ends - concept[heads] * length


def _covered(
    pieces: Pieces, first: np.ndarray, last: np.ndarray, only_last: bool
) -> tuple[Pairs, Pairs]:
    """Tokens inside each piece, and those that are unsure of it."""
    concept, start, end = pieces
    touching = np.searchsorted(last, start, "right"), np.searchsorted(first, end, "left")
    inside = np.searchsorted(first, start, "left"), np.searchsorted(last, end, "right")
    all_tokens, which = _ranges(*touching)
    low, high = inside[0][which], inside[1][which]
    holds = (all_tokens >= low) & (all_tokens < high)
    if only_last:
        holds &= last[all_tokens] == end[which]
    numbers = concept[which]
    return (all_tokens[holds], numbers[holds]), (all_tokens[~holds], numbers[~holds])


def _ranges(low: np.ndarray, high: np.ndarray) -> Pairs:
    """The numbers ``low`` to ``high - 1`` of every pair, and which pair they are of."""
    counts = np.maximum(high - low, 0)
    which = np.repeat(np.arange(len(low)), counts)
    before = np.cumsum(counts) - counts
    return np.arange(counts.sum()) - before[which] + low[which], which
