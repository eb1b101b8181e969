"""Neurons in small: of one meaning while features are dense, and only where the ReLU makes them."""

from __future__ import annotations

import pytest

from monosemy.foundation.errors import UserError
from monosemy.recipes.laboratory.toy_privileged import PrivilegedSettings, run
from monosemy.recipes.laboratory.toys import ToySettings


def test_dense_neurons_mean_one_thing(tmp_path):
    settings = PrivilegedSettings(6, 3, 0.75, (0.7, 0.03), 8, ToySettings(600, 64, 2e-2))
    found = run(settings, runs=tmp_path)
    relu, linear = found.numbers["models"]["relu"], found.numbers["models"]["linear"]
    assert relu[0]["monosemantic"] == 1
    assert relu[1]["monosemantic"] < 1
    assert linear[0]["monosemantic"] < 1
    assert relu[0]["n_neurons"] == 3


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(UserError, match="decay = 0; wanted above 0"):
        PrivilegedSettings(decay=0)
