"""Computation in small: neurons in pairs of opposite signs."""

from __future__ import annotations

import pytest
import torch

from monosemy.foundation.errors import UserError
from monosemy.recipes.laboratory.toy_computation import ComputationSettings, paired, run
from monosemy.recipes.laboratory.toys import ToySettings


def test_the_small_model_pairs_its_neurons(tmp_path):
    settings = ComputationSettings(6, 8, 4, 0.8, (1.0, 0.1), ToySettings(600, 128, 2e-2),
                                   ToySettings(200, 64, 1e-2))  # fmt: skip
    found = run(settings, runs=tmp_path)
    small, large = found.numbers["small"], found.numbers["large"]
    assert small["pairs"] == 3
    assert small["loss"] < 1e-3
    assert [row["density"] for row in large] == [1.0, 0.1]
    assert all(0 < row["n_neurons"] <= 4 for row in large)


def test_pairs_by_hand():
    assert paired(torch.tensor([[1.0, 0.0], [-0.5, 0.0], [0.0, 1.0], [0.0, 2.0]])) == 1
    assert paired(torch.tensor([[1.0, 1.0], [-1.0, -1.0]])) == 0


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(UserError, match="hidden = 0; wanted at least 1"):
        ComputationSettings(hidden=0)
