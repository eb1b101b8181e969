"""Axis codes are flat off their axis, exemplar codes are not, and noise is neither."""

from __future__ import annotations

import pytest
import torch

from monosemy.foundation.errors import UserError
from monosemy.superposition.tuning import axis_cells, exemplar_cells, tuning


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def stimuli():
    return torch.randn(1200, 6, generator=draw())


def test_axis_cells_reach_the_ceiling_and_are_flat_across(stimuli):
    found = tuning(stimuli, axis_cells(stimuli, 12, 40, 0.5, draw(1)))
    assert found.along == pytest.approx(found.ceiling, abs=0.02)
    assert found.ceiling == pytest.approx(1 / 1.25, abs=0.02)
    assert found.across == pytest.approx(0, abs=0.02)


def test_exemplar_cells_do_neither(stimuli):
    found = tuning(stimuli, exemplar_cells(stimuli, 12, 40, 0.5, draw(1)))
    assert found.along < found.ceiling - 0.1
    assert found.across > 0.1


def test_noise_has_no_ceiling(stimuli):
    found = tuning(stimuli, torch.randn(40, 1200, 12, generator=draw(2)))
    assert found.ceiling == pytest.approx(0, abs=0.01)
    assert found.along == pytest.approx(0, abs=0.01)


def test_too_little_is_refused(stimuli):
    with pytest.raises(UserError, match="has 2 problems"):
        tuning(stimuli[:20], torch.zeros(1, 20, 3))
