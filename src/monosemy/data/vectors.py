"""Word vectors and analogy questions, read from the files that others write."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from monosemy.foundation.errors import UserError, refuse
from monosemy.tensors.axes import Float, Int, Tensor

NO_SECTION = "all"


@dataclass(frozen=True, eq=False)
class WordVectors:
    """A vector for each word.

    Attributes
    ----------
    name : where they come from.
    words : each once.
    values : one row a word, in the units of the file.
    """

    name: str
    words: tuple[str, ...]
    values: Float[Tensor, "word width"]

    @cached_property
    def places(self) -> Mapping[str, int]:
        """Row of each word."""
        return {word: place for place, word in enumerate(self.words)}

    def place(self, word: str) -> int | None:
        """Row of `word` as it is written, else in small letters; `None` where there is neither."""
        found = self.places.get(word)
        return self.places.get(word.lower()) if found is None else found

    @cached_property
    def unit(self) -> Float[Tensor, "word width"]:
        """Rows of length one."""
        return torch.nn.functional.normalize(self.values, dim=1)


@dataclass(frozen=True, eq=False)
class Questions:
    """Analogy questions whose four words all have vectors.

    Attributes
    ----------
    rows : words a, b, c and d of "a is to b as c is to d", as rows of the vectors.
    section : index into `sections`.
    asked : questions in the file, covered or not.
    """

    rows: Int[Tensor, "question 4"]
    section: Int[Tensor, "question"]
    sections: tuple[str, ...]
    asked: int

    def __len__(self) -> int:
        return len(self.rows)

    def pairs(self, section: int) -> Int[Tensor, "pair 2"]:
        """The pairs of words whose relation a section is about, each once."""
        rows = self.rows[self.section == section]
        return torch.cat([rows[:, :2], rows[:, 2:]]).unique(dim=0)


def read_vectors(path: str | Path) -> WordVectors:
    """The vectors in `path`.

    A text file has a word and its numbers on each line (GloVe), perhaps below a line with how many
    there are (word2vec). An ``.npz`` file has arrays ``words`` and ``vectors``. Where a word comes
    twice, its first vector stays.

    Errors
    ------
    `UserError` for a file that is absent or holds something else, with the line where it is wrong.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"word vectors: {path} is no file; wanted text (a word a line) or .npz")
    words, rows = _read_npz(path) if path.suffix == ".npz" else _read_text(path)
    refuse(_unfit(path, words, rows), f"the word vectors in {path}")
    first = {word: place for place, word in reversed(list(enumerate(words)))}
    kept = sorted(first.values())
    values = torch.from_numpy(np.ascontiguousarray(rows[kept], dtype=np.float32))
    return WordVectors(path.name, tuple(words[place] for place in kept), values)


def _read_npz(path: Path) -> tuple[list[str], np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return [str(word) for word in file["words"]], np.asarray(file["vectors"])
    except (KeyError, ValueError, OSError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{path} holds no word vectors ({error}); wanted arrays 'words' and 'vectors'"
        ) from None


def _read_text(path: Path) -> tuple[list[str], np.ndarray]:
    words, rows = list[str](), list[np.ndarray]()
    with path.open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, 1):
            word, _, numbers = line.rstrip().partition(" ")
            try:
                row = np.array(numbers.split(), dtype=np.float32)
            except ValueError:
                row = np.empty(0, dtype=np.float32)
            if number == 1 and len(row) == 1 and word.isdigit():
                continue  # how many words, how many numbers
            if not len(row) or (rows and len(row) != len(rows[0])):
                wanted = f"{len(rows[0])} numbers" if rows else "numbers"
                raise UserError(
                    f"{path}, line {number}: {line[:40].rstrip()!r}; wanted a word and {wanted}"
                )
            words.append(word)
            rows.append(row)
    return words, np.stack(rows) if rows else np.empty((0, 0), dtype=np.float32)


def _unfit(path: Path, words: Sequence[str], rows: np.ndarray) -> list[str]:
    if rows.ndim != 2 or len(words) != len(rows):
        return [
            f"{path}: {len(words):,} words and vectors of shape {rows.shape}; wanted a row each"
        ]
    if len(words) < 4:
        return [f"{path} has {len(words)} words; an analogy has four"]
    if not np.isfinite(rows).all():
        return [f"{path} has numbers that are not finite"]
    return []


def read_questions(path: str | Path, vectors: WordVectors) -> Questions:
    """The questions in `path` that `vectors` can be asked.

    Four words a line, ``: name`` above a section.

    Errors
    ------
    `UserError` for an absent file, a line of another form, and where no question is covered.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"analogy questions: {path} is no file; wanted four words a line")
    sections, rows, owner, asked = list[str](), list[list[int]](), list[int](), 0
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.startswith(":"):
            sections.append(line[1:].strip())
            continue
        words = line.split()
        if not words:
            continue
        if len(words) != 4:
            raise UserError(f"{path}, line {number}: {line!r}; wanted four words, or ': section'")
        if not sections:
            sections.append(NO_SECTION)
        asked += 1
        places = [place for word in words if (place := vectors.place(word)) is not None]
        if len(places) == 4:
            rows.append(places)
            owner.append(len(sections) - 1)
    if not rows:
        raise UserError(
            f"{vectors.name} covers none of the {asked:,} questions in {path}: some of their words "
            f"have no vector ({len(vectors.words):,} words, such as {', '.join(vectors.words[:3])})"
        )
    return Questions(torch.tensor(rows), torch.tensor(owner), tuple(sections), asked)
