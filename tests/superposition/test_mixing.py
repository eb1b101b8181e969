"""Dichotomies: the cube exactly, random points, readers on conditions they never saw."""

from __future__ import annotations

import math

import pytest
import torch

from monosemy.foundation.errors import UserError
from monosemy.superposition.coded import bits_of, cube
from monosemy.superposition.mixing import (
    Moments,
    balanced,
    blocks,
    by_condition,
    carried_over,
    decoded,
    interval,
    jackknife,
    parallelism,
    separable,
    shattering_count,
)


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def corners():
    return cube(3, 10, draw())


def test_a_cube_has_seven_of_thirty_five(corners):
    assert shattering_count(corners) == (7, 35)
    assert shattering_count(corners + 100) == (7, 35)


def test_those_are_bits_and_signed_majorities(corners):
    plain = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 3)
    majorities = [(plain @ torch.tensor(s)) > 0
                  for s in ([1.0, 1, 1], [1.0, 1, -1], [1.0, -1, 1], [-1.0, 1, 1])]  # fmt: skip
    for side in [*bits_of(3), *majorities]:
        assert separable(corners, side)
    parity = plain.prod(1) > 0
    assert not separable(corners, parity)


def test_points_in_general_position_have_all():
    for width in (7, 12):
        assert shattering_count(torch.randn(8, width, generator=draw(width)))[0] == 35
    assert shattering_count(torch.randn(8, 3, generator=draw()))[0] < 35


def test_a_cube_with_a_little_distortion_has_both(corners):
    bent = corners + 0.1 * torch.randn(8, 10, generator=draw(2))
    conditions = torch.arange(8)
    assert shattering_count(bent)[0] == 35
    for side in bits_of(3):
        assert by_condition(carried_over(bent, conditions, side), conditions) == 1
        assert parallelism(bent, side) > 0.9


def test_bits_of_a_cube_generalise_and_random_points_do_not(corners):
    conditions = torch.arange(8)
    for side in bits_of(3):
        assert by_condition(carried_over(corners, conditions, side), conditions) == 1
        assert parallelism(corners, side) == pytest.approx(1, abs=1e-6)
    found = []
    for seed in range(40):
        points = torch.randn(8, 10, generator=draw(seed))
        found += [by_condition(carried_over(points, conditions, side), conditions)
                  for side in bits_of(3)]  # fmt: skip
    assert sum(found) / len(found) == pytest.approx(0.5, abs=0.06)


def test_the_pairing_of_conditions_is_found(corners):
    mixed = corners[torch.tensor([0, 1, 2, 3, 6, 4, 7, 5])]
    assert parallelism(mixed, torch.arange(8) < 4) == pytest.approx(1, abs=1e-6)
    assert math.isnan(parallelism(torch.eye(2), torch.tensor([True, False])))


def test_matched_contexts_keep_a_conditional_code_at_chance():
    """Value and context are told by a place of their own: in all combinations context misleads."""
    contexts, many = 5, 40
    axes = torch.eye(3 * contexts)
    value = torch.arange(2)[:, None] * 2.0 - 1
    means = value[..., None] * axes[:contexts] + 3 * axes[contexts : 2 * contexts]
    means = means.flatten(0, 1)
    condition = torch.arange(2 * contexts).repeat_interleave(many)
    x = means[condition] + 0.1 * torch.randn(len(condition), 3 * contexts, generator=draw())
    side = torch.arange(2 * contexts) < contexts
    matched = by_condition(carried_over(x, condition, side, matched=True), condition)
    crossed = by_condition(carried_over(x, condition, side), condition)
    assert matched == pytest.approx(0.5, abs=0.05)
    assert crossed < 0.35
    assert decoded(x, condition, side[None], torch.arange(len(x)) % 2 == 0).mean() > 0.95


def test_the_reader_is_fishers_discriminant():
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    x = torch.randn(400, 5, generator=draw()).double()
    condition = torch.arange(400) % 2
    x[condition == 1] += torch.tensor([1.0, 0.5, 0, 0, 0]).double()
    w, _ = Moments.of(x, condition, 2).reader([1], [0])
    other = LinearDiscriminantAnalysis().fit(x.numpy(), condition.numpy()).coef_[0]
    cosine = torch.nn.functional.cosine_similarity(w, torch.from_numpy(other), dim=0)
    assert cosine > 0.9999


def test_halves_are_counted_and_each_comes_once():
    for many, wanted in ((2, 1), (4, 3), (8, 35)):
        sides = balanced(many)
        assert len(sides) == wanted == len(sides.unique(dim=0))
        assert (sides.sum(1) == many // 2).all()
        assert sides[:, 0].all()
    drawn = balanced(30, 50, draw())
    assert drawn.shape == (50, 30)
    assert (drawn.sum(1) == 15).all()


def test_what_cannot_be_halved_or_held_out_is_refused():
    with pytest.raises(UserError, match="7 conditions cannot be halved"):
        balanced(7)
    with pytest.raises(UserError, match="wanted a generator"):
        balanced(30)
    with pytest.raises(UserError, match="1 condition on a side; wanted at least 2"):
        carried_over(torch.eye(3), torch.arange(3), torch.tensor([True, False, False]))


def test_intervals_are_over_groups():
    right = torch.tensor([1.0, 0.0]).double().repeat_interleave(500)
    condition = torch.arange(1000) % 2
    by_ten = torch.arange(1000) // 100
    low, high = interval(right, condition, by_ten, draw())
    assert low < 0.5 < high
    assert high - low == pytest.approx(2 * 1.96 * 0.5 / 10**0.5, rel=0.2)
    narrow = interval(right, condition, torch.arange(1000), draw())
    assert narrow[1] - narrow[0] < (high - low) / 4


def test_the_jackknife_of_a_mean_is_its_standard_error():
    values = torch.randn(20, generator=draw())
    without = [float(values[torch.arange(20) != i].mean()) for i in range(20)]
    low, high = jackknife(float(values.mean()), without)
    assert (high - low) / (2 * 1.96) == pytest.approx(float(values.std() / 20**0.5), rel=1e-4)
    dealt = blocks(torch.arange(60) // 2, draw())
    assert (dealt[::2] == dealt[1::2]).all()
    assert len(dealt.unique()) == 20
