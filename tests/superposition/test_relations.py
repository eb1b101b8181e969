"""Offsets of relations, and the axis that would make them exact: closed forms, nulls, least gains."""

from __future__ import annotations

import math

import pytest
import torch

from monosemy.foundation.errors import UserError
from monosemy.superposition.relations import captured, consistency, look, needed_axis


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


def unit_rows(rows, width, seed=0):
    return torch.nn.functional.normalize(torch.randn(rows, width, generator=draw(seed)), dim=1)


def test_consistency_by_hand():
    assert consistency(torch.tensor([[1.0, 0], [2, 0], [0.5, 0]])) == pytest.approx(1)
    assert consistency(torch.eye(4)) == pytest.approx(0)
    # Three directions at 120 degrees: every cosine is -1/2.
    angles = torch.tensor([0, 2, 4]) * math.pi / 3
    assert consistency(torch.stack([angles.cos(), angles.sin()], 1)) == pytest.approx(-0.5)


def test_captured_energy_of_a_planted_subspace_and_of_noise():
    offsets = torch.randn(40, 2, generator=draw()) @ torch.randn(2, 30, generator=draw(1))
    assert captured(offsets, 2) == pytest.approx(1)
    assert captured(offsets, 1) < 0.99
    noise = torch.randn(200, 30, generator=draw(2))
    assert captured(noise, 3) == pytest.approx(3 / 30, abs=0.04)


def test_a_planted_relation_stands_out_from_deals_and_random_words_do_not():
    first = unit_rows(20, 50)
    shift = unit_rows(1, 50, seed=5)
    second = torch.nn.functional.normalize(first + shift, dim=1)
    words = torch.cat([first, second])
    pairs = torch.stack([torch.arange(20), torch.arange(20, 40)], 1)
    found = look(words, pairs, draw())
    assert found.consistency > 0.8 > found.shuffled_high
    assert found.captured[1] > found.shuffled_captured[1] + 0.3
    nothing = look(unit_rows(40, 50, seed=9), pairs, draw())
    assert nothing.consistency < nothing.shuffled_high + 0.05
    with pytest.raises(UserError, match="2 pairs; wanted at least 3"):
        look(words, pairs[:2], draw())


def nearest(words, t, pairs):
    """The nearest word to every query, with one more coordinate."""
    x = torch.cat([words.double(), t[:, None]], 1)
    found = []
    for i in range(len(pairs)):
        for j in range(len(pairs)):
            if i != j:
                query = x[pairs[i, 1]] - x[pairs[i, 0]] + x[pairs[j, 0]]
                found.append(int(torch.cdist(query[None], x).argmin()) == int(pairs[j, 1]))
    return torch.tensor(found)


@pytest.fixture
def words():
    """Thirty words, of which six pairs are a relation that is far from exact."""
    unit, pairs = unit_rows(30, 12, seed=3), torch.arange(12).reshape(6, 2)
    unit[pairs[:, 1]] = unit[pairs[:, 0]] + 0.5 * unit[pairs[:, 1]] + 0.4 * unit_rows(1, 12, seed=4)
    return torch.nn.functional.normalize(unit, dim=1), pairs


def test_the_binary_axis_leaves_no_mistake_outside_and_a_smaller_gain_leaves_one(words):
    unit, pairs = words
    axis = needed_axis(unit, pairs)
    t = torch.zeros(30, dtype=torch.float64)
    right = {}
    for factor in (1.0, 0.999, 50.0):
        t[pairs[:, 1]] = axis.gain * factor
        right[factor] = int(nearest(unit, t, pairs).sum())
    assert right[1.0] == axis.right_with_gain
    assert right[50.0] == right[1.0]  # whatever is left is inside the second words
    assert int(nearest(unit, 0 * t, pairs).sum()) == axis.right_before < axis.right_with_gain
    assert mistakes_outside(unit, axis.gain, pairs) == 0
    assert mistakes_outside(unit, 0.999 * axis.gain, pairs) > 0


def mistakes_outside(unit, gain, pairs):
    """Questions in which a word that is no second word is nearer than the answer."""
    t = torch.zeros(len(unit), dtype=torch.float64)
    t[pairs[:, 1]] = gain
    x = torch.cat([unit.double(), t[:, None]], 1)
    outside = torch.ones(len(unit), dtype=torch.bool)
    outside[pairs[:, 1]] = False
    many = 0
    for i in range(len(pairs)):
        for j in range(len(pairs)):
            query = x[pairs[i, 1]] - x[pairs[i, 0]] + x[pairs[j, 0]]
            far = torch.cdist(query[None], x)[0]
            many += i != j and bool(far[outside].min() < far[pairs[j, 1]])
    return many


def test_the_graded_axis_makes_every_question_exact(words):
    unit, pairs = words
    axis = needed_axis(unit, pairs)
    ranked = torch.zeros(30, dtype=torch.float64)
    steps = torch.arange(6, dtype=torch.float64)
    ranked[pairs[:, 0]] = axis.spacing * steps
    ranked[pairs[:, 1]] = axis.graded_gain + axis.spacing * steps
    assert nearest(unit, ranked, pairs).all()
    assert axis.right_with_graded == axis.questions == 30
    short = ranked.clone()
    short[pairs[:, 1]] -= 0.01 * axis.graded_gain
    assert not nearest(unit, short, pairs).all()


def test_exact_parallelograms_need_no_axis():
    eye = torch.eye(8)
    first = eye[:5] + eye[6]
    words = torch.nn.functional.normalize(torch.cat([first, eye[:5] + eye[7]]), dim=1)
    axis = needed_axis(words, torch.stack([torch.arange(5), torch.arange(5, 10)], 1))
    assert axis.gain < 1e-6
    assert axis.spacing < 1e-6
    assert axis.right_before == axis.questions == 20


def test_pairs_with_common_words_count_once(words):
    unit, pairs = words
    doubled = torch.cat([pairs, torch.tensor([[0, 20], [1, 2]])])
    assert needed_axis(unit, doubled) == needed_axis(unit, pairs)
    with pytest.raises(UserError, match="1 pairs without a common word; wanted at least 3"):
        needed_axis(unit, torch.tensor([[0, 1], [0, 2], [0, 3]]))
