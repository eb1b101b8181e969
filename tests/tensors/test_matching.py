"""Matching: against every permutation, against the dense solver, and the bound that makes it exact."""

from itertools import permutations

import pytest
import torch
from scipy.optimize import linear_sum_assignment

from monosemy.foundation.errors import UserError
from monosemy.tensors import matching
from monosemy.tensors.matching import Cosines, Written, best_columns, match


def table(rows, columns, seed=0):
    return torch.rand(rows, columns, generator=torch.Generator().manual_seed(seed))


def best_sum(scores):
    found = linear_sum_assignment(scores.double().numpy(), maximize=True)
    return float(scores.double().numpy()[found].sum())


def test_no_permutation_is_better():
    for seed in range(5):
        scores = table(4, 4, seed).double()
        best = max(sum(scores[i, j] for i, j in enumerate(p)) for p in permutations(range(4)))
        assert float(match(Written(scores)).scores.sum()) == pytest.approx(float(best), abs=1e-12)


@pytest.mark.parametrize("shape", [(1, 1), (7, 7), (5, 30), (30, 5), (40, 41)])
@pytest.mark.parametrize("kept", [1, 2, 64])
def test_as_the_dense_solver(shape, kept):
    scores = table(*shape)
    found = match(Written(scores), kept)
    assert len(found.rows) == min(shape)
    assert len(set(found.rows.tolist())) == len(set(found.columns.tolist())) == min(shape)
    assert float(found.scores.sum()) == pytest.approx(best_sum(scores), abs=1e-9)
    torch.testing.assert_close(found.scores, scores[found.rows, found.columns].double())


def test_rows_that_all_want_the_same_column():
    """The few largest scores do not suffice: taken alone they would give no matching at all."""
    scores = torch.zeros(6, 8)
    scores[:, 0] = torch.arange(6) + 1.0
    scores[:, 1] = 0.5
    found = match(Written(scores), kept=1)
    assert float(found.scores.sum()) == best_sum(scores) == 6.5
    assert int(found.columns[5]) == 0


def test_scores_of_zero_and_below_zero():
    for scores in (torch.zeros(3, 4), table(6, 9) - 2):
        assert float(match(Written(scores), 2).scores.sum()) == pytest.approx(best_sum(scores))


def test_a_matching_follows_a_relabelling():
    scores, order = table(8, 12), torch.randperm(8, generator=torch.Generator().manual_seed(1))
    found, moved = match(Written(scores)), match(Written(scores[order]))
    assert torch.equal(moved.columns, found.columns[order])


def test_cosines_know_no_length_and_no_sign():
    a, b = table(5, 3), table(7, 3, 1)
    here = Cosines(a, b).rows(torch.arange(5))
    torch.testing.assert_close(here, Cosines(-3 * a, 0.1 * b).rows(torch.arange(5)))
    torch.testing.assert_close(here.T, Cosines(a, b).transposed.rows(torch.arange(7)))
    assert Cosines(torch.zeros(1, 3), b).rows(torch.tensor([0])).eq(0).all()


def test_blocks_change_nothing(monkeypatch):
    a, b = table(30, 6), table(40, 6, 1)
    whole, best = match(Cosines(a, b)), best_columns(Cosines(a, b))
    monkeypatch.setattr(matching, "_ENTRIES", 100)
    assert len(list(matching.blocks(Cosines(a, b)))) == 15
    parts, again = match(Cosines(a, b)), best_columns(Cosines(a, b))
    assert torch.equal(whole.columns, parts.columns)
    assert torch.equal(best[1], again[1])
    torch.testing.assert_close(best[0], Cosines(a, b).rows(torch.arange(30)).max(1).values)


def test_columns_without_a_row():
    found = match(Written(torch.eye(3)[:2]))
    assert found.of_columns(3).tolist() == [0, 1, -1]


def test_what_cannot_be_matched_is_refused():
    with pytest.raises(UserError, match="a matching of 0 with 3; wanted at least one of each"):
        match(Written(torch.zeros(0, 3)))
    with pytest.raises(UserError, match="scores of a matching are not finite"):
        match(Written(torch.full((2, 2), float("nan"))))
