"""Pentagons in small: five alike make one, a rare fifth is dropped for two pairs."""

from __future__ import annotations

import json

import pytest

from monosemy.foundation.errors import UserError
from monosemy.recipes.laboratory.toy_geometry import GeometrySettings, run
from monosemy.recipes.laboratory.toys import ToySettings


def test_a_pentagon_and_two_pairs(tmp_path):
    settings = GeometrySettings(factors=(2, 1, 0.1), training=ToySettings(1000, 128, 2e-2))
    found = run(settings, runs=tmp_path)
    told = json.loads(json.dumps(found.to_json()))
    _, alike, rare = told["models"]
    assert alike["blocks"] == ["pentagon"]
    assert alike["dimensionality"] == pytest.approx([0.4] * 5, abs=0.015)
    assert rare["blocks"] == ["antipodal pair"] * 2
    assert rare["dimensionality"][0] < 0.01


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(UserError, match="wanted 1 among them"):
        GeometrySettings(factors=(2, 0.5))
    with pytest.raises(UserError, match="density = 0.5 times 4 is above 1"):
        GeometrySettings(density=0.5)
