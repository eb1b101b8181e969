"""Closed forms of capacity: frames, bounds that are met, bounds that agree with one another."""

from __future__ import annotations

import math

import pytest
import torch

from monosemy.foundation.errors import UserError
from monosemy.recipes.laboratory.capacity import polygon, simplex
from monosemy.superposition import capacity
from monosemy.superposition.recovery import random_directions


def drawn(features, width, seed=0):
    return random_directions(features, width, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("rows", "each"),
    [(polygon(3), 2 / 3), (polygon(5), 2 / 5), (simplex(3), 3 / 4), (polygon(2), 1 / 2)],
)
def test_tight_frames_share_their_dimensions_evenly(rows, each):
    found = capacity.capacities(rows)
    torch.testing.assert_close(found, torch.full_like(found, each))


def test_capacities_sum_to_the_width_at_most():
    assert 0 < capacity.capacities(drawn(40, 10)).sum() < 10
    assert capacity.capacities(polygon(7)).sum() == pytest.approx(2)
    assert capacity.capacities(torch.zeros(3, 4)).tolist() == [0, 0, 0]
    # Two features on one axis share it; a third alone has its own.
    rows = torch.tensor([[1.0, 0], [1, 0], [0, 2]])
    assert capacity.capacities(rows).tolist() == pytest.approx([0.5, 0.5, 1])


def test_mean_squared_overlap_of_random_directions_is_one_by_the_width():
    for width in (10, 50):
        assert capacity.mean_squared_overlap(drawn(1500, width)) * width == pytest.approx(
            1, abs=0.02
        )
    assert capacity.mean_squared_overlap(torch.eye(5)) == pytest.approx(0)


def test_a_simplex_meets_welchs_bound_and_nothing_goes_below():
    assert capacity.largest_overlap(simplex(8)) == pytest.approx(capacity.welch(9, 8), abs=1e-12)
    assert capacity.welch(9, 8) == pytest.approx(1 / 8)
    for seed in range(5):
        assert capacity.largest_overlap(drawn(30, 8, seed)) > capacity.welch(30, 8)
    assert capacity.welch(8, 8) == 0


def test_welchs_limit_is_met_by_a_simplex_and_lies_above_random_codes():
    # A simplex in d axes is the most that fits at 1 / d.
    assert 10 ** capacity.welch_limit(8, 1 / 8) == pytest.approx(9, rel=1e-6)
    for width in (16, 64, 256, 1024):
        for tolerance in (0.1, 0.2, 0.4):
            limit = capacity.welch_limit(width, tolerance)
            assert capacity.random_code(width, tolerance, 0.5) <= limit


def test_the_chance_of_an_overlap_is_the_one_that_is_drawn():
    cos = drawn(2, 20)[0] @ drawn(20000, 20, 1).T
    share = float((cos.abs() > 0.4).double().mean())
    assert math.exp(capacity.overlap_chance(20, 0.4)) == pytest.approx(share, rel=0.15)
    # Two axes: a circle, where the angle is even.
    assert math.exp(capacity.overlap_chance(2, 0.5)) == pytest.approx(2 / 3)
    # Where the exact tail underflows its bound takes over.
    assert capacity.overlap_chance(12288, 0.9) == pytest.approx(12287 / 2 * math.log(1 - 0.81))


def test_random_codes_keep_their_promise():
    n = round(10 ** capacity.random_code(32, 0.6, 0.3))
    assert n > 20
    failed = [capacity.largest_overlap(drawn(n, 32, seed)) > 0.6 for seed in range(150)]
    assert sum(failed) / 150 < 0.42  # 0.3 and three standard errors
    more = [capacity.largest_overlap(drawn(4 * n, 32, seed)) > 0.6 for seed in range(20)]
    assert sum(more) / 20 > 0.8


def test_compressed_sensing_is_its_law():
    n = 10 ** capacity.compressed_sensing(64, 8)
    assert 2 * 8 * math.log(n / 64) == pytest.approx(64)
    assert 10 ** (capacity.compressed_sensing(512, 15) - math.log10(512)) == pytest.approx(
        math.exp(17.07), rel=0.01
    )


def test_one_shot_of_one_feature_is_exact_and_of_many_falls():
    # One active feature: the others are cosines with it, and all lie below one.
    assert capacity.one_shot(100, 16, 1) == pytest.approx(1)
    chances = [capacity.one_shot(256, 32, k) for k in range(1, 9)]
    assert chances == sorted(chances, reverse=True)
    assert capacity.one_shot(5, 32, 5) == 1.0
    by_features = [capacity.one_shot(n, 32, 4) for n in (16, 64, 256, 1024)]
    assert by_features == sorted(by_features, reverse=True)


def test_the_readouts_limits_are_where_its_chance_crosses():
    n = capacity.features_for_one_shot(64, 4)
    assert capacity.one_shot(n, 64, 4) >= 0.5 > capacity.one_shot(n + 1, 64, 4)
    k = capacity.active_for_one_shot(512, 64)
    assert capacity.one_shot(512, 64, k) >= 0.5 > capacity.one_shot(512, 64, k + 1)
    assert capacity.features_for_one_shot(4, 4) in (0, *range(4, 9))


def test_refusals():
    with pytest.raises(UserError) as told:
        capacity.welch_limit(1, 1.5)
    assert "width = 1; wanted at least 2" in str(told.value)
    assert "tolerance = 1.5; wanted between 0 and 1" in str(told.value)
    with pytest.raises(UserError, match="k = 0; wanted at least 1"):
        capacity.one_shot(10, 4, 0)
