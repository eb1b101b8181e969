"""Three ways to ask, on parallelograms that are exact and on vectors of nothing."""

from __future__ import annotations

import pytest
import torch

from monosemy.data.vectors import Questions
from monosemy.foundation.errors import UserError
from monosemy.superposition.analogy import (
    ADD,
    DIRECTION,
    METHODS,
    MUL,
    Cosines,
    Scored,
    answers,
    score,
)


@pytest.fixture
def grid():
    """Entities times attributes, on axes of their own; every question there is."""
    E, A = 5, 3
    axes = torch.eye(E + A)
    unit = torch.nn.functional.normalize((axes[:E, None] + axes[None, E:]).flatten(0, 1), dim=1)
    rows = [(e * A + a, e * A + b, f * A + a, f * A + b)
            for a in range(A) for b in range(A) for e in range(E) for f in range(E)
            if a != b and e != f]  # fmt: skip
    many = len(rows)
    section = torch.arange(many) % 2
    return unit, Questions(torch.tensor(rows), section, ("even", "odd"), many + 7)


@pytest.mark.parametrize("method", METHODS)
def test_exact_parallelograms_are_answered(grid, method):
    unit, questions = grid
    assert torch.equal(answers(unit, questions.rows, method), questions.rows[:, 3])


@pytest.mark.parametrize("method", METHODS)
def test_vectors_of_nothing_answer_by_chance(grid, method):
    _, questions = grid
    unit = torch.randn(15, 40, generator=torch.Generator().manual_seed(0))
    unit = torch.nn.functional.normalize(unit, dim=1)
    right = answers(unit, questions.rows, method) == questions.rows[:, 3]
    assert right.float().mean() < 0.3


def test_the_formulas_by_hand():
    unit = torch.nn.functional.normalize(
        torch.randn(6, 4, generator=torch.Generator().manual_seed(1)), dim=1
    )
    a, b, c = unit[0], unit[1], unit[2]
    rows = torch.tensor([[0, 1, 2, 3]])
    given = Cosines.of(unit @ unit.T, rows, rows)
    cos = torch.nn.functional.cosine_similarity
    added = METHODS[ADD](given)[0] / (b - a + c).norm()
    torch.testing.assert_close(added, torch.stack([cos(x, b - a + c, dim=0) for x in unit]))
    s = [(unit @ v + 1) / 2 for v in (a, b, c)]
    torch.testing.assert_close(METHODS[MUL](given)[0], s[1] * s[2] / (s[0] + 0.001))
    along = METHODS[DIRECTION](given)[0]
    others = [i for i in range(6) if i != 2]
    wanted = torch.stack([cos(unit[i] - c, b - a, dim=0) for i in others])
    torch.testing.assert_close(along[others], wanted)
    assert along[2] == -2


def test_question_words_are_answers_only_where_they_are_allowed():
    # The offset is small: the nearest word to b - a + c is c itself.
    unit = torch.nn.functional.normalize(
        torch.tensor([[1.0, 0, 0, 0.1], [1, 0, 0.1, 0], [0, 1, 0, 0.1], [0, 1, 0.5, -0.6]]), dim=1
    )
    rows = torch.tensor([[0, 1, 2, 3]])
    assert answers(unit, rows, ADD).tolist() == [3]
    assert answers(unit, rows, ADD, exclude=False).tolist() == [2]


def test_counts_of_sections_add_up(grid):
    unit, questions = grid
    found = score(unit, questions).to_json()
    assert found["covered"] == len(questions) == found["correct"] == found["asked"] - 7
    for method in METHODS:
        parts = [section[method]["correct"] for section in found["sections"].values()]
        assert sum(parts) == found["methods"][method]["correct"]


def test_the_interval_is_over_pairs_that_rise_and_fall_together(grid):
    _, questions = grid
    # Half of the first pairs are right in all of their questions, half in none.
    _, owner = questions.rows[:, :2].unique(dim=0, return_inverse=True)
    right = {ADD: owner % 2 == 0}
    low, high = Scored(questions, right, right).interval(ADD, torch.Generator().manual_seed(0))
    pairs = int(owner.max()) + 1
    assert low < 0.5 < high
    assert high - low == pytest.approx(2 * 1.96 * 0.5 / pairs**0.5, rel=0.15)


def test_unknown_methods_are_named(grid):
    unit, questions = grid
    with pytest.raises(UserError, match="unknown method '3CosAd'.*did you mean '3CosAdd'"):
        answers(unit, questions.rows, "3CosAd")
