"""Coincidence in time: planted together, and not where one is shifted."""

from __future__ import annotations

import numpy as np
import pytest

from monosemy.foundation.errors import UserError
from monosemy.superposition.jumps import coincidence


def series() -> np.ndarray:
    values = np.full(200, 0.01)
    values[[20, 90, 91, 150]] = 1.0
    return values


def test_planted_jumps_are_found():
    found = coincidence(series() * 3, series(), most=0.02)
    assert found.share > 0.6
    assert found.chance == 0
    assert (found.windows, found.n_windows, len(found.shifted)) == (4, 200, 199)


def test_jumps_at_other_moments_are_not():
    found = coincidence(np.roll(series(), 7), series(), most=0.02)
    assert found.share < 0.1
    assert found.chance > 0.5


def test_noise_is_at_chance():
    draw = np.random.default_rng(0)
    found = coincidence(draw.random(200), draw.random(200))
    assert found.share == pytest.approx(0.1, abs=0.03)
    assert found.chance > 0.01


def test_too_little_is_refused():
    with pytest.raises(UserError, match="at least 20"):
        coincidence(np.ones(5), np.ones(5))
    with pytest.raises(UserError, match="nothing falls"):
        coincidence(np.ones(30), np.zeros(30))
