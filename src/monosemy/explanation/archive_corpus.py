"""The text that an archive was collected from: tokens, their texts, the documents they stand in."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from monosemy.explanation.archive_arrays import Arrays
from monosemy.foundation.errors import UserError

NOWHERE = -1
"""Offset of tokens that stand for no text."""


class Corpus:
    """Reads ``corpus.*``: token texts, documents and offsets, all bounds-checked.

    Attributes
    ----------
    contexts, length : windows of text, and tokens in each.
    vocabulary, documents : how many.
    """

    def __init__(self, arrays: Arrays):
        self._arrays = arrays
        self._known: dict[int, str] = {}  # texts that were asked for: at most the vocabulary
        self.contexts, self.length = arrays["corpus.ids"].shape
        self.vocabulary = len(arrays["corpus.vocabulary_start"]) - 1
        self.documents = len(arrays["corpus.names_start"]) - 1

    def ids(self, context: int, start: int, stop: int) -> list[int]:
        """Token ids of positions `start` up to `stop` of a context."""
        found = self._arrays["corpus.ids"][context, start:stop]
        return self._arrays.below("corpus.ids", found, self.vocabulary).tolist()

    def text(self, token: int) -> str:
        """The text of a token id."""
        if token not in self._known:
            if not 0 <= token < self.vocabulary:
                raise UserError(
                    f"token {token} is none of this archive's; "
                    f"ids go from 0 to {self.vocabulary - 1:,}"
                )
            self._known[token] = self._words("vocabulary", token)
        return self._known[token]

    def document(self, number: int) -> str:
        """The name of a document."""
        if not 0 <= number < self.documents:
            raise UserError(
                f"document {number} is none of this archive's; it has {self.documents:,}"
            )
        return self._words("names", number)

    def _words(self, what: str, index: int) -> str:
        data = self._arrays[f"corpus.{what}"]
        start, stop = self._arrays.span(f"corpus.{what}_start", index, len(data))
        return data[start:stop].tobytes().decode("utf-8", errors="replace")

    def kept(self, context: int, start: int, stop: int) -> np.ndarray:
        """Which tokens of positions `start` up to `stop` of a context were read."""
        places = context * self.length + np.arange(start, stop)
        return self._arrays["corpus.kept"][places // 8] >> (places % 8).astype(np.uint8) & 1 == 1

    @cached_property
    def _starts(self) -> np.ndarray:
        starts = self._arrays["corpus.run_start"].astype(np.int64)
        rising = len(starts) and starts[0] == 0 and (np.diff(starts) > 0).all()
        if self.contexts * self.length and not rising:
            raise self._arrays.damaged("corpus.run_start", "runs do not begin at 0 and rise")
        return starts

    def run(self, place: int) -> int:
        """The run that holds a place (``context * length + position``)."""
        return int(np.searchsorted(self._starts, place, side="right")) - 1

    def run_document(self, run: int) -> int:
        """Number of the document that a run belongs to."""
        found = self._arrays["corpus.run_document"][run : run + 1]
        return int(self._arrays.below("corpus.run_document", found, self.documents)[0])

    def within_document(self, context: int, peak: int, start: int, stop: int) -> tuple[int, int]:
        """The part of positions `start` up to `stop` that belongs to the peak's document."""
        base = context * self.length
        first = last = self.run(base + peak)
        document = self.run_document(first)
        while self._starts[first] > base + start and self.run_document(first - 1) == document:
            first -= 1
        ends = len(self._starts)
        while (
            last + 1 < ends
            and self._starts[last + 1] < base + stop
            and self.run_document(last + 1) == document
        ):
            last += 1
        end = int(self._starts[last + 1]) - base if last + 1 < ends else stop
        return max(start, int(self._starts[first]) - base), min(stop, end)

    def origin(self, context: int, position: int, peak: int) -> tuple[str, int]:
        """The peak's document, and the offset of the first token from `position` on that has one."""
        base = context * self.length
        run = self.run(base + position)
        name = self.document(self.run_document(self.run(base + peak)))
        while run + 1 < len(self._starts) and self._offset(run) == NOWHERE:
            if self._starts[run + 1] > base + peak:
                return name, NOWHERE
            run += 1
        if self._offset(run) == NOWHERE:
            return name, NOWHERE
        begin, place = int(self._starts[run]), max(base + position, int(self._starts[run]))
        before = self._arrays["corpus.ids"].reshape(-1)[begin:place]
        before = self._arrays.below("corpus.ids", before, self.vocabulary)
        return name, self._offset(run) + int(self.lengths[before].sum())

    def _offset(self, run: int) -> int:
        return int(self._arrays["corpus.run_offset"][run])

    @cached_property
    def cuts(self) -> np.ndarray:
        """Places at which a context or a document begins, rising."""
        documents = self._arrays["corpus.run_document"]
        fresh = np.ones(len(documents), dtype=bool)
        fresh[1:] = documents[1:] != documents[:-1]
        contexts = np.arange(self.contexts, dtype=np.int64) * self.length
        cuts = np.union1d(contexts, self._starts[fresh])
        return cuts[cuts < self.contexts * self.length]

    @cached_property
    def texts(self) -> list[str]:
        """The text of every token."""
        return [self._words("vocabulary", token) for token in range(self.vocabulary)]

    @cached_property
    def lengths(self) -> np.ndarray:
        """Characters of every token's text."""
        return np.array([len(text) for text in self.texts], dtype=np.int64)
