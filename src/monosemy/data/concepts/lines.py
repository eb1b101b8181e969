"""Where rows and columns lie among the characters of a text, as Python's tokenizer counts them."""

from __future__ import annotations

import io


class Lines:
    """Rows of a text, from 1, as `tokenize` and `ast` see them.

    `str.splitlines` would also break at form feeds, which both take for space.
    """

    def __init__(self, text: str):
        self._rows = list(io.StringIO(text, newline=""))
        self._starts, at = list[int](), 0
        for row in self._rows:
            self._starts.append(at)
            at += len(row)
        self._starts.append(at)

    def __len__(self) -> int:
        return len(self._rows)

    def start(self, row: int) -> int:
        """First character of a row; of the row behind the last, the end of the text."""
        return self._starts[min(row - 1, len(self._starts) - 1)]

    def text(self, row: int) -> str:
        """A row, its end included."""
        return self._rows[row - 1]

    def at(self, row: int, column: int) -> int:
        """The character at a column counted in characters (`tokenize`)."""
        return self.start(row) + column

    def at_byte(self, row: int, column: int) -> int:
        """The character at a column counted in bytes of UTF-8 (`ast`)."""
        if row > len(self._rows):
            return self._starts[-1]
        line = self._rows[row - 1]
        if line.isascii():
            return self.start(row) + column
        return self.start(row) + len(line.encode()[:column].decode(errors="ignore"))
