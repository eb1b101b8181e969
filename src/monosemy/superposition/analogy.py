"""Analogies: a is to b as c is to what, by offsets of vectors of length one.

Three ways to ask (Mikolov et al. 2013; Levy and Goldberg 2014), with all rows of length one:

    3CosAdd         argmax over x of  cos(x, b - a + c)
    3CosMul         argmax over x of  s(x, b) s(x, c) / (s(x, a) + 0.001),  s = (1 + cos) / 2
    PairDirection   argmax over x of  cos(x - c, b - a)

The words of the question are usually not allowed as answers, and without that rule most questions
are answered by b or c. So each is counted both ways.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from monosemy.data.vectors import Questions
from monosemy.foundation.errors import UserError, nearest
from monosemy.tensors.axes import Bool, Float, Int, Tensor

ADD, MUL, DIRECTION = "3CosAdd", "3CosMul", "PairDirection"
# Levy and Goldberg's: keeps 3CosMul from dividing by zero.
_SMALL = 0.001
# Questions asked together: their scores of all words stay in the cache's reach.
_AT_ONCE = 256
_DRAWS = 1000

Unit = Float[Tensor, "word width"]
Rows = Int[Tensor, "question 4"]
Scores = Float[Tensor, "question word"]


@dataclass(frozen=True, eq=False)
class Cosines:
    """Cosines of the words of some questions, with every word and with each other."""

    a: Scores
    b: Scores
    c: Scores
    ab: Float[Tensor, "question 1"]
    ac: Float[Tensor, "question 1"]
    bc: Float[Tensor, "question 1"]

    @classmethod
    def of(cls, table: Float[Tensor, "asked word"], rows: Rows, places: Rows) -> Cosines:
        """From a table with one row for each word that is asked about; `places` are rows of it."""
        a, b, c = (table[places[:, at]] for at in range(3))
        ab, bc = a.gather(1, rows[:, 1:2]), b.gather(1, rows[:, 2:3])
        return cls(a, b, c, ab, a.gather(1, rows[:, 2:3]), bc)


def _cos_add(cos: Cosines) -> Scores:
    return cos.b - cos.a + cos.c


def _cos_mul(cos: Cosines) -> Scores:
    return (cos.b + 1) * (cos.c + 1) / (2 * cos.a + (2 + 4 * _SMALL))


def _pair_direction(cos: Cosines) -> Scores:
    along = (cos.b - cos.a - (cos.bc - cos.ac)) / (2 - 2 * cos.ab).clamp_min(1e-12).sqrt()
    apart = (2 - 2 * cos.c).clamp_min(0).sqrt()
    # The direction from c to c itself is none.
    return (along / apart.clamp_min(1e-3)).masked_fill_(apart <= 1e-3, -2.0)


METHODS: dict[str, Callable[[Cosines], Scores]] = {
    ADD: _cos_add, MUL: _cos_mul, DIRECTION: _pair_direction,
}  # fmt: skip
"""Name -> score of every word as the answer of every question."""


def answers(
    unit: Unit, rows: Rows, method: str = ADD, exclude: bool = True
) -> Int[Tensor, "question"]:
    """The word that a method answers to each question.

    Parameters
    ----------
    unit : word vectors of length one.
    rows : words a, b and c of each question (and d, which is not looked at).
    exclude : whether a, b and c may not be the answer.

    Errors
    ------
    `UserError` for an unknown method.
    """
    if method not in METHODS:
        raise UserError(
            f"unknown method {method!r}; known: {', '.join(METHODS)}{nearest(method, METHODS)}"
        )
    return _answers(unit, rows, method)[0 if exclude else 1]


def _answers(
    unit: Unit, rows: Rows, method: str
) -> tuple[Int[Tensor, "question"], Int[Tensor, "question"]]:
    """Without the question's words as answers, and with them."""
    without, including = [rows.new_zeros(0)], [rows.new_zeros(0)]
    asked, places = rows.unique(return_inverse=True)
    table = unit[asked] @ unit.T
    for some, there in zip(rows.split(_AT_ONCE), places.split(_AT_ONCE), strict=True):
        scores = METHODS[method](Cosines.of(table, some, there))
        including.append(scores.argmax(1))
        without.append(scores.scatter_(1, some[:, :3], -torch.inf).argmax(1))
    return torch.cat(without), torch.cat(including)


@dataclass(frozen=True, eq=False)
class Scored:
    """Which questions each method answered rightly.

    Attributes
    ----------
    questions : what was asked.
    right, right_including : by method; without and with the words of the question as answers.
    """

    questions: Questions
    right: dict[str, Bool[Tensor, "question"]]
    right_including: dict[str, Bool[Tensor, "question"]]

    def interval(self, method: str, generator: torch.Generator) -> tuple[float, float]:
        """Of the share that is right: percentile bootstrap over first pairs (a, b), 95 %.

        Questions with the same pair rise and fall together, so pairs are drawn, not questions.
        """
        _, owner = self.questions.rows[:, :2].unique(dim=0, return_inverse=True)
        many = int(owner.max()) + 1
        right = torch.zeros(many).index_add(0, owner, self.right[method].float())
        asked = torch.bincount(owner, minlength=many).float()
        drawn = torch.randint(many, (_DRAWS, many), generator=generator)
        shares = right[drawn].sum(1) / asked[drawn].sum(1)
        low, high = torch.quantile(shares, torch.tensor([0.025, 0.975])).tolist()
        return low, high

    def to_json(self) -> dict[str, Any]:
        """``{asked, covered, correct, correct_including_question_words, methods, sections}``."""
        return {
            "asked": self.questions.asked,
            "covered": len(self.questions),
            "correct": int(self.right[ADD].sum()),
            "correct_including_question_words": int(self.right_including[ADD].sum()),
            "methods": {name: self._counts(name, None) for name in self.right},
            "sections": {
                name: {
                    "covered": int((self.questions.section == i).sum()),
                    **{method: self._counts(method, i) for method in self.right},
                }
                for i, name in enumerate(self.questions.sections)
                if bool((self.questions.section == i).any())
            },
        }

    def _counts(self, method: str, section: int | None) -> dict[str, int]:
        there = torch.ones(len(self.questions), dtype=torch.bool)
        if section is not None:
            there = self.questions.section == section
        return {
            "correct": int(self.right[method][there].sum()),
            "correct_including_question_words": int(self.right_including[method][there].sum()),
        }


def score(unit: Unit, questions: Questions) -> Scored:
    """Ask every method every question."""

    given = {name: _answers(unit, questions.rows, name) for name in METHODS}
    wanted = questions.rows[:, 3]
    return Scored(
        questions, {name: without == wanted for name, (without, _) in given.items()},
        {name: including == wanted for name, (_, including) in given.items()},
    )  # fmt: skip
