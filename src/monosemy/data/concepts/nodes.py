"""Where nodes of a syntax tree lie among the characters and words of a text."""

from __future__ import annotations

import ast
import bisect
from collections.abc import Sequence

from monosemy.data.concepts.lexical import COMMENT, NL, Word
from monosemy.data.concepts.lines import Lines


class Nodes:
    """A text, its lines and its words (ends of lines and comments left out), to look nodes up in."""

    def __init__(self, text: str, lines: Lines, words: Sequence[Word]):
        self.text, self.lines = text, lines
        self.words = [word for word in words if word.kind not in (NL, COMMENT, "NEWLINE")]
        self._starts = [word.start for word in self.words]

    def start(self, node: ast.AST) -> int:
        """First character of a node; of a definition, that of def or class."""
        return self.lines.at_byte(node.lineno, node.col_offset)  # type: ignore[attr-defined]

    def end(self, node: ast.AST) -> int:
        """Behind the last character of a node."""
        return self.lines.at_byte(node.end_lineno, node.end_col_offset)  # type: ignore[attr-defined]

    def span(self, node: ast.AST) -> tuple[int, int]:
        """First character and end."""
        return self.start(node), self.end(node)

    def whole(self, node: ast.stmt) -> tuple[int, int]:
        """The same, decorators and the space before the line's first word included."""
        decorators = getattr(node, "decorator_list", None)
        first = decorators[0].lineno if decorators else node.lineno
        line = self.lines.start(first)
        start = self.start(node)
        if decorators or not self.text[line:start].strip():
            start = line
        return start, self.end(node)

    def word_at(self, start: int) -> Word | None:
        """The word that begins at this character."""
        i = bisect.bisect_left(self._starts, start)
        return self.words[i] if i < len(self.words) and self._starts[i] == start else None

    def after(self, word: Word) -> Word | None:
        """The next word."""
        i = bisect.bisect_right(self._starts, word.start)
        return self.words[i] if i < len(self.words) else None

    def between(self, start: int, end: int) -> list[Word]:
        """Words that begin inside."""
        low, high = (bisect.bisect_left(self._starts, at) for at in (start, end))
        return self.words[low:high]

    def before(self, start: int) -> Word | None:
        """The last word that begins before this character."""
        i = bisect.bisect_left(self._starts, start)
        return self.words[i - 1] if i else None

    def colon_before(self, node: ast.stmt) -> int:
        """Behind the colon that opens the block of which `node` is the first statement."""
        decorators = getattr(node, "decorator_list", None)
        found = self.before(self.start(decorators[0]) if decorators else self.start(node))
        while found is not None and found.text != ":":
            found = self.before(found.start)
        return found.end if found is not None else self.start(node)

    def named(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> Word | None:
        """The name behind def or class."""
        i = bisect.bisect_left(self._starts, self.start(node))
        for word in self.words[i : i + 3]:
            if word.text == node.name:
                return word
        return None
