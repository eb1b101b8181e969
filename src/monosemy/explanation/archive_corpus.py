"""The text that an archive was collected from: tokens, their texts, the documents they stand in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from monosemy.explanation.archive_arrays import Arrays
from monosemy.foundation.errors import UserError

NOWHERE = -1
"""Offset of tokens that stand for no text."""


@dataclass(frozen=True)
class Piece:
    """Tokens of one document that stand together in one context.

    Attributes
    ----------
    start : position of the first.
    ids : their ids.
    document : its name.
    offset : character of the document at which they begin; `NOWHERE` where none stands for text.
    """

    start: int
    ids: list[int]
    document: str
    offset: int


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

    def pieces(
        self,
        contexts: Sequence[int],
        peaks: Sequence[int],
        starts: Sequence[int],
        stops: Sequence[int],
    ) -> list[Piece]:
        """For each peak, what of positions `start` up to `stop` of its context is of its document."""
        base = np.asarray(contexts, dtype=np.int64) * self.length
        begin, end = base + np.asarray(starts), base + np.asarray(stops)
        first, own, last = (
            (np.searchsorted(self._starts, at, side="right") - 1).tolist()
            for at in (begin, base + np.asarray(peaks), end - 1)
        )
        found = []
        for k, (a, run, b) in enumerate(zip(first, own, last, strict=True)):
            start, stop, document = int(begin[k]), int(end[k]), self._run_document(run)
            for other in range(run - 1, a - 1, -1):
                if self._run_document(other) != document:
                    start = int(self._starts[other + 1])
                    break
            for other in range(run + 1, b + 1):
                if self._run_document(other) != document:
                    stop = int(self._starts[other])
                    break
            ids = self._flat(start, stop)
            offset = self._offset(max(a, self._run(start)), start, stop)
            found.append(Piece(start - int(base[k]), ids, self.document(document), offset))
        return found

    def _run(self, place: int) -> int:
        return int(np.searchsorted(self._starts, place, side="right")) - 1

    def _run_document(self, run: int) -> int:
        found = int(self._arrays["corpus.run_document"][run])
        if found >= self.documents:
            raise self._arrays.damaged(
                "corpus.run_document", f"it holds {found:,}; wanted less than {self.documents:,}"
            )
        return found

    def _flat(self, start: int, stop: int) -> list[int]:
        found = self._arrays["corpus.ids"].reshape(-1)[start:stop]
        return self._arrays.below("corpus.ids", found, self.vocabulary).tolist()

    def _offset(self, run: int, start: int, stop: int) -> int:
        """Offset of the first place from `start` up to `stop` that has one, from `run` on."""
        offsets = self._arrays["corpus.run_offset"]
        while run < len(self._starts) and self._starts[run] < stop:
            if (offset := int(offsets[run])) != NOWHERE:
                begin = int(self._starts[run])
                before = self._arrays["corpus.ids"].reshape(-1)[begin : max(start, begin)]
                before = self._arrays.below("corpus.ids", before, self.vocabulary)
                return offset + int(self.lengths[before].sum())
            run += 1
        return NOWHERE

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
        """Characters of every token's text: its bytes that do not go on with a character."""
        name = "corpus.vocabulary"
        data, starts = self._arrays[name], self._arrays[f"{name}_start"].astype(np.int64)
        if starts[0] != 0 or starts[-1] != len(data) or (np.diff(starts) < 0).any():
            raise self._arrays.damaged(f"{name}_start", "texts do not begin at 0 and rise")
        begins = (data & 0xC0) != 0x80
        inner = starts[(starts > 0) & (starts < len(data))]
        try:
            data.tobytes().decode("utf-8")
        except UnicodeDecodeError as error:
            raise self._arrays.damaged(name, f"it is not UTF-8 ({error})") from None
        if not begins[inner].all():
            raise self._arrays.damaged(f"{name}_start", "a text begins inside a character")
        return np.diff(np.concatenate([[0], np.cumsum(begins)])[starts])
