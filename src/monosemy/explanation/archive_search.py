"""Finds regular expressions in the text of all examples, within a limited time."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import regex

from monosemy.explanation.archive_arrays import Arrays
from monosemy.explanation.archive_corpus import Corpus
from monosemy.explanation.archive_examples import Examples
from monosemy.foundation.errors import UserError

# Rows looked at together: large enough for numpy, small enough to stop soon.
_ROWS = 1 << 20
_LONGEST_PATTERN = 1000


@dataclass(frozen=True)
class Hit:
    """An example in which the pattern is found.

    Attributes
    ----------
    feature, example : the feature, and which of its examples.
    span : first and one past the last character of the match in the example's joined tokens.
    """

    feature: int
    example: int
    span: tuple[int, int]


@dataclass(frozen=True)
class Hits:
    """What a search found, by feature and example.

    Attributes
    ----------
    hits : at most as many as were asked for.
    complete : whether all of the text was searched; else time ran out.
    more : whether there are hits beyond those listed.
    """

    hits: list[Hit]
    complete: bool
    more: bool

    @property
    def features(self) -> list[int]:
        """Features with a hit, each once, rising."""
        return sorted({hit.feature for hit in self.hits})


class Searcher:
    """Searches the corpus once and looks up whose examples the matches lie in.

    The texts are decoded at the first search and stay in memory: a few bytes a token of the corpus,
    whatever the number of features.
    """

    def __init__(self, arrays: Arrays, corpus: Corpus, examples: Examples):
        self._arrays = arrays
        self._corpus = corpus
        self._examples = examples

    def find(self, pattern: str, limit: int, seconds: float) -> Hits:
        """Examples in which `pattern` is found, by feature and then as they stand.

        The text searched is that of a document inside a context. A match belongs to an example where
        it begins inside the example's window, and is cut where the window ends; of several the first
        counts. Matches of no character do not count. ``^`` and ``$`` are ends of lines too.

        Parameters
        ----------
        pattern : of the `regex` library, which knows all that `re` does.
        limit : most hits.
        seconds : time after which the search ends with what it has; a pattern that explodes too.

        Errors
        ------
        `UserError` for what is no regular expression, with the place.
        """
        if limit < 1:
            raise UserError(f"limit is {limit} hits; wanted at least 1")
        starts, ends, complete = self._matches(_compiled(pattern), seconds)
        tokens = np.searchsorted(self._letters, starts, side="right") - 1
        hits: list[Hit] = []
        for row in self._rows(tokens):
            hit = self._hit(int(row), tokens, starts, ends)
            if hit and len(hits) == limit:
                return Hits(hits, complete, True)
            if hit:
                hits.append(hit)
        return Hits(hits, complete, False)

    def _matches(
        self, pattern: regex.Pattern[str], seconds: float
    ) -> tuple[np.ndarray, np.ndarray, bool]:
        """First and one past the last letter of every match, in the joined corpus."""
        pieces = self._pieces  # decoding them is not the pattern's fault
        deadline = time.monotonic() + seconds
        starts: list[int] = []
        ends: list[int] = []
        complete = True
        try:
            for base, text in pieces:
                left = deadline - time.monotonic()
                if left <= 0:
                    complete = False
                    break
                for match in pattern.finditer(text, timeout=left, concurrent=True):
                    if match.end() > match.start():
                        starts.append(base + match.start())
                        ends.append(base + match.end())
        except TimeoutError:
            complete = False
        return np.array(starts, dtype=np.int64), np.array(ends, dtype=np.int64), complete

    def _rows(self, tokens: np.ndarray):  # type: ignore[no-untyped-def]
        """Rows whose context has a match within reach of the peak, rising."""
        if not len(tokens):
            return
        length = self._corpus.length
        context = self._arrays["examples.context"]
        peak = self._arrays["examples.peak"]
        searched = np.zeros(self._corpus.contexts, dtype=bool)
        searched[tokens // length] = True
        for first in range(0, self._examples.rows, _ROWS):
            here = context[first : first + _ROWS]
            self._arrays.below("examples.context", here, self._corpus.contexts)
            rows = first + np.flatnonzero(searched[here])
            places = context[rows].astype(np.int64) * length
            window = self._examples.window_bounds(peak[rows].astype(np.int64))
            after = np.searchsorted(tokens, places + window[0])
            inside = after < len(tokens)
            inside[inside] = tokens[after[inside]] < (places + window[1])[inside]
            yield from rows[inside]

    def _hit(
        self, row: int, tokens: np.ndarray, starts: np.ndarray, ends: np.ndarray
    ) -> Hit | None:
        context, _, piece = self._examples.row(row)
        base = context * self._corpus.length
        start, stop = piece.start, piece.start + len(piece.ids)
        first = int(np.searchsorted(tokens, base + start))
        if first == len(tokens) or tokens[first] >= base + stop:
            return None  # the match lies in another document
        low, high = int(self._letters[base + start]), int(self._letters[base + stop])
        firsts = self._arrays["examples.first"]
        feature = int(np.searchsorted(firsts, row, side="right")) - 1
        span = (int(starts[first]) - low, min(int(ends[first]), high) - low)
        return Hit(feature, row - int(firsts[feature]), span)

    @cached_property
    def _letters(self) -> np.ndarray:
        """For each place of the corpus, letters before it; one more for the end."""
        ids = self._arrays["corpus.ids"].reshape(-1)
        ids = self._arrays.below("corpus.ids", ids, self._corpus.vocabulary)
        return np.concatenate([[0], np.cumsum(self._corpus.lengths[ids])])

    @cached_property
    def _pieces(self) -> list[tuple[int, str]]:
        """Every stretch of one document in one context: letters before it, and its text."""
        ids = self._arrays["corpus.ids"].reshape(-1).tolist()
        texts = self._corpus.texts
        cuts = self._corpus.cuts
        bases = self._letters[cuts].tolist()
        ends = [*cuts[1:].tolist(), len(ids)]
        return [
            (base, "".join([texts[i] for i in ids[start:stop]]))
            for base, start, stop in zip(bases, cuts.tolist(), ends, strict=True)
        ]


def _compiled(pattern: str) -> regex.Pattern[str]:
    if len(pattern) > _LONGEST_PATTERN:
        raise UserError(
            f"this pattern has {len(pattern):,} characters; wanted at most {_LONGEST_PATTERN:,}"
        )
    try:
        return regex.compile(pattern, regex.MULTILINE)
    except (regex.error, RecursionError, OverflowError, ValueError) as error:
        raise UserError(f"{pattern!r} is not a regular expression: {error}") from None
