"""The made world: exact at A + E dimensions, broken below, and by chance where nothing is planted."""

from __future__ import annotations

import pytest
import torch

from monosemy.foundation.errors import UserError
from monosemy.superposition.analogy import ADD, answers
from monosemy.superposition.cooccurrence import (
    WorldOfWords,
    all_questions,
    by_rank,
    factorised,
    halfway,
    parallelism,
    pmi,
)
from monosemy.tensors.compute import Compute

SMALL = WorldOfWords(attributes=3, entities=8, contexts=400, tokens=300_000)


def test_enough_dimensions_answer_and_few_do_not():
    top = SMALL.dimensions
    found = {one.rank: one for one in by_rank(SMALL, [1, 2, top, top + 2], Compute())}
    assert found[top].accuracy >= 0.95
    assert found[top + 2].accuracy >= 0.95
    assert found[1].accuracy < 0.3
    assert found[1].parallelism < 0.5 < 0.9 < found[top].parallelism


def test_pmi_is_additive_in_entity_and_attribute():
    grid = pmi(WorldOfWords(3, 8, 400, tokens=10**8), Compute()).unflatten(0, (8, 3))
    # log Z and the word's own count are constants of a row.
    grid = grid - grid.mean(2, keepdim=True)
    left = grid - grid.mean(0, keepdim=True) - grid.mean(1, keepdim=True) + grid.mean((0, 1))
    assert left.square().mean() < 1e-3 * grid.square().mean()


def test_shuffled_contexts_leave_no_parallelogram():
    matrix = pmi(SMALL, Compute())
    draw = torch.Generator().manual_seed(0)
    mixed = torch.stack([row[torch.randperm(len(row), generator=draw)] for row in matrix])
    unit = torch.nn.functional.normalize(factorised(mixed, SMALL.dimensions), dim=1)
    rows = all_questions(SMALL).rows
    assert (answers(unit, rows, ADD) == rows[:, 3]).float().mean() < 0.2
    assert abs(parallelism(unit, SMALL)) < 0.1


def test_every_question_is_there_once():
    questions = all_questions(SMALL)
    assert len(questions) == 3 * 2 * 8 * 7 == len(questions.rows.unique(dim=0))
    a, b, c, d = questions.rows.T
    assert torch.equal(a % 3, c % 3)
    assert torch.equal(b % 3, d % 3)
    assert torch.equal(a // 3, b // 3)
    assert torch.equal(c // 3, d // 3)


def test_halfway_by_hand():
    assert halfway([1, 2, 3, 4, 5], [0.0, 0.0, 1.0, 1.0, 0.2], 4) == pytest.approx(2.5)
    assert halfway([1, 2, 4], [0.0, 0.5, 1.0], 4) == pytest.approx(2.0)


def test_worlds_that_cannot_be_are_refused():
    with pytest.raises(UserError, match="has 3 problems"):
        WorldOfWords(attributes=1, entity_size=0.0, contexts=20)
