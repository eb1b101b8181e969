"""Dynamics in small: traced, and judged beside shifts in time."""

from __future__ import annotations

import json

import pytest

from monosemy.foundation.errors import UserError
from monosemy.recipes.laboratory.toy_dynamics import DynamicsSettings, run
from monosemy.recipes.laboratory.toys import ToySettings


def test_weights_are_looked_at_all_the_while(tmp_path):
    settings = DynamicsSettings(0.05, 4, 20, begin=50, training=ToySettings(700, 64, 6e-3))
    found = run(settings, runs=tmp_path)
    told = json.loads(json.dumps(found.to_json()))
    assert told["steps"] == list(range(0, 700, 20))
    assert len(told["dimensionality"]) == len(told["loss"]) == 35
    assert told["loss"][-1] < told["loss"][0] / 2
    assert [one["n_windows"] for one in told["coincidence"]] == [32] * 4
    assert found.pictures[0].svg.startswith("<?xml")


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(UserError, match="wanted at least 22 looks"):
        DynamicsSettings(training=ToySettings(400))
    with pytest.raises(UserError, match="fits = 1; wanted at least 2"):
        DynamicsSettings(fits=1)
