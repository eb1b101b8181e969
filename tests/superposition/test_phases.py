"""The phase diagram in closed form: its losses against the models, its boundaries, its agreement."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from monosemy.data.toys import EveryCase
from monosemy.foundation.errors import UserError
from monosemy.models.toy import TiedToy
from monosemy.superposition.phases import (
    ALONE,
    IGNORED,
    MEETING,
    SHARED,
    agreement,
    boundary,
    learned_phase,
    losses,
    near_boundary,
    phase,
)

# Explicit solutions in the order of the table: columns of W, and the bias in units of the density.
TWO = [([[1.0, 0.0]], [0, 0.5]), ([[1.0, -1.0]], [0, 0]), ([[0.0, 1.0]], [0.5, 0])]
THREE = [
    ([[1.0, 0, 0], [0, 1, 0]], [0, 0, 0.5]),
    ([[1.0, 0, -1], [0, 1, 0]], [0, 0, 0]),
    ([[1.0, 0, 0], [0, 0, 1]], [0, 0.5, 0]),
    ([[1.0, -1, 0], [0, 0, 1]], [0, 0, 0]),
]


@pytest.mark.parametrize(("features", "solutions"), [(2, TWO), (3, THREE)])
@pytest.mark.parametrize(("density", "importance"), [(0.3, 2.0), (0.9, 0.25), (0.05, 1.0)])
def test_the_losses_are_those_of_the_explicit_models(features, solutions, density, importance):
    cases = EveryCase.of(features, 24)
    weight = torch.ones(features)
    weight[-1] = importance
    for solution, wanted in zip(
        solutions, losses(np.array(density), np.array(importance), features), strict=True
    ):
        toy = TiedToy(1, features, features - 1, torch.Generator())
        columns, bias = solution
        toy.load_state_dict(
            {"W": torch.tensor([columns]), "b": torch.tensor([bias], dtype=torch.float32) * density}
        )
        error = ((toy(cases.x[None])[0] - cases.x).square() * weight).sum(1)
        exact = (error * cases.weights(torch.tensor([density]))[0]).sum()
        assert float(exact.detach()) == pytest.approx(float(wanted), rel=3e-3)


def test_the_known_boundaries():
    density = np.array([0.5, 0.3, 0.2, 0.1, 0.05, 0.01])
    low, high = boundary(density)
    assert low == pytest.approx([2 / 3, 0.24, 2 / 15, 0.2 / 3.5, 0.1 / 3.75, 0.02 / 3.95])
    assert high == pytest.approx(1 / low)
    inside, outside = np.sqrt(low), low / 1.01
    assert (phase(density, low * 1.01, 2) == SHARED).all()
    assert (phase(density, inside, 2) == SHARED).all()
    assert (phase(density, outside, 2) == IGNORED).all()
    assert (phase(density, high * 1.01, 2) == ALONE).all()
    assert np.isnan(boundary(np.array([0.6]))[0]).all()
    assert boundary(np.array([MEETING]))[0] == pytest.approx(1)


def test_three_in_two_share_below_the_meeting_only():
    assert phase(np.array([0.5]), np.array([0.9]), 3) == SHARED
    assert phase(np.array([0.6]), np.array([0.9]), 3) == IGNORED
    assert (phase(np.array([0.5, 0.6]), np.array([2.0, 2.0]), 3) == ALONE).all()


def test_phases_of_weights_made_to_show_each():
    made = np.array([[[1.0, 0.0]], [[1.0, -1.0]], [[0.0, 1.0]]])
    assert learned_phase(made).tolist() == [IGNORED, SHARED, ALONE]


def test_agreement_leaves_the_band_out_and_can_fail():
    density, importance = np.meshgrid(
        np.geomspace(1, 0.05, 9), np.geomspace(0.1, 10, 9), indexing="ij"
    )
    right = phase(density, importance, 2)
    near = near_boundary(density, importance, 2)
    assert 0 < near.sum() < near.size / 2
    wrong_near = np.where(near, (right + 1) % 3, right)
    assert agreement(wrong_near, density, importance, 2).share == 1
    found = agreement((right + 1) % 3, density, importance, 2)
    assert found.share == 0
    assert (found.cells, found.away) == (81, 81 - near.sum())


def test_what_cannot_be_is_refused():
    with pytest.raises(UserError, match="no closed form for 4 features"):
        losses(np.array(0.1), np.array(1.0), 4)
    on_it = np.array([0.3]), np.array([0.24])
    with pytest.raises(UserError, match="all 1 cells lie within 10%"):
        agreement(phase(*on_it, 2), *on_it, 2)
