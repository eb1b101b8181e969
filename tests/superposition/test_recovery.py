"""Decoders of known dictionaries: perfect for orthogonal directions, in order for others."""

from __future__ import annotations

import pytest
import torch

from monosemy.foundation.errors import UserError
from monosemy.superposition import capacity
from monosemy.superposition.recovery import (
    DECODERS,
    RecoveryConfig,
    exact,
    half_point,
    matching_pursuit,
    measure_recovery,
    mixtures,
    one_shot,
    random_directions,
    wilson,
)
from monosemy.tensors.compute import Compute


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", DECODERS)
def test_orthogonal_directions_are_all_found(name):
    W = torch.linalg.qr(random_directions(24, 24, draw()))[0]
    x, active = mixtures(W, 9, 50, draw(1))
    assert active.sum(1).tolist() == [9] * 50
    assert exact(DECODERS[name](x, W, 9), active) == 1


@pytest.mark.parametrize("name", DECODERS)
def test_a_decoder_with_another_dictionary_finds_nothing(name):
    x, active = mixtures(random_directions(60, 16, draw()), 3, 50, draw(1))
    assert exact(DECODERS[name](x, random_directions(60, 16, draw(2)), 3), active) == 0


def test_more_work_finds_more():
    found = measure_recovery(
        RecoveryConfig(128, 32, most=6, samples=100, dictionaries=1), Compute()
    )
    one, step, search = (half_point(found[name]) for name in DECODERS)
    assert one < step < search
    assert max(found["another dictionary"]) < 0.1  # by chance 1 / 128 of one active feature


def test_the_formula_of_one_shot_is_what_is_drawn():
    for k in (2, 3, 4):
        shares = []
        for seed in range(10):
            W = random_directions(256, 32, draw(seed))
            x, active = mixtures(W, k, 200, draw(100 + seed))
            shares.append(exact(one_shot(x, W, k), active))
        assert capacity.one_shot(256, 32, k) == pytest.approx(sum(shares) / 10, abs=0.07)


def test_matching_pursuit_by_hand():
    W = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0.6, 0.8, 0]]).double()
    x = torch.tensor([[0.6, 0.8, 0.0]]).double()
    assert matching_pursuit(x, W, 1).tolist() == [[False, False, True]]


def test_exact_asks_for_nothing_more_and_nothing_less():
    active = torch.tensor([[True, False, True], [True, False, False]])
    found = torch.tensor([[True, False, True], [True, True, False]])
    assert exact(found, active) == 0.5


def test_the_half_point_is_interpolated():
    assert half_point([1.0, 0.75, 0.25, 0.0]) == pytest.approx(2.5)
    assert half_point([1.0, 1.0]) == 2
    assert half_point([0.0]) == pytest.approx(0.5)


def test_wilson_holds_the_share_and_stays_inside():
    low, high = wilson(0.5, 100)
    assert (low, high) == (pytest.approx(0.404, abs=1e-3), pytest.approx(0.596, abs=1e-3))
    assert wilson(0.0, 50)[0] == 0
    assert wilson(1.0, 50)[1] == pytest.approx(1)


def test_refusals():
    with pytest.raises(UserError) as told:
        RecoveryConfig(features=8, width=4, most=5, samples=1)
    assert "most = 5 active of 8 features in 4 axes" in str(told.value)
    assert "samples = 1; wanted at least 10" in str(told.value)
