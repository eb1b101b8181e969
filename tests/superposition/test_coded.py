"""Samples of codes: halves by group, full grids, projections, made codes."""

from __future__ import annotations

import pytest
import torch

from monosemy.foundation.errors import UserError
from monosemy.superposition.coded import MADE, Coded, MadeConfig, full, made, projected


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


def coded_of(labels, group=None, width=3):
    labels = torch.tensor(labels)
    values = tuple(tuple(map(str, range(int(column.max()) + 1))) for column in labels.T)
    x = torch.randn(len(labels), width, generator=draw())
    group = torch.arange(len(labels)) if group is None else torch.tensor(group)
    return Coded("mine", x, labels, ("a", "b"), values, group)


def test_halves_do_not_cut_groups():
    coded = coded_of([[0, 0], [1, 1]] * 10, [i // 5 for i in range(20)])
    half = coded.halves(draw())
    assert half.sum() == 10
    for group in range(4):
        assert len(half[coded.group == group].unique()) == 1


def test_halves_of_single_samples_are_halves_of_every_combination():
    coded = coded_of([[0, 0], [0, 1], [1, 0], [1, 1]] * 6)
    half = coded.halves(draw())
    assert torch.bincount(coded.condition[half]).tolist() == [3, 3, 3, 3]


def test_values_without_samples_are_left_out():
    rows = [[a, b] for a in range(3) for b in range(3) if (a, b) != (2, 0)] * 5
    found = full(coded_of(rows), 3, 4, draw())
    assert found.shape in ((2, 3), (3, 2))
    assert found.counts().tolist() == [4] * 6
    kept = {found.values[0][a] + found.values[1][b] for a, b in found.labels.tolist()}
    assert "20" not in kept


def test_too_few_samples_are_refused():
    with pytest.raises(UserError, match=r"no two values of every variable \(a, b\) have 9 samples"):
        full(coded_of([[0, 0], [0, 1], [1, 0], [1, 1]] * 6), 9, 20, draw())


def test_projection_keeps_what_is_large():
    coded = made("global", MadeConfig(noise=0.01), draw())
    small = projected(coded, 6)
    assert small.x.shape[1] == 6
    kept = small.x.double().var(0).sum() / coded.x.double().var(0).sum()
    assert kept > 0.99
    assert projected(coded, 100) is coded


@pytest.mark.parametrize("kind", MADE)
def test_made_codes_have_what_was_asked_for(kind):
    config = MadeConfig(positions=5, classes=3, width=12, samples=7)
    coded = made(kind, config, draw())
    assert coded.shape == (5, 3)
    assert coded.counts().tolist() == [7] * 15
    assert torch.equal(coded.x, made(kind, config, draw()).x)


def test_what_cannot_be_made_is_refused():
    with pytest.raises(UserError, match="unknown code 'globul'.*did you mean 'global'"):
        made("globul", MadeConfig(), draw())
    with pytest.raises(UserError, match="has 3 problems"):
        MadeConfig(positions=3, width=4, samples=1)
