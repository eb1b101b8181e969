"""Company in small: together at right angles, one of a set opposite, dense pairs collapse."""

from __future__ import annotations

import pytest
import torch

from monosemy.foundation.errors import UserError
from monosemy.recipes.laboratory.toy_correlated import CompanySettings, run, within
from monosemy.recipes.laboratory.toys import ToySettings


def test_company_decides_the_geometry(tmp_path):
    settings = CompanySettings(models=4, fits=3, collapse=(0.02, 0.7), collapse_fits=3,
                               training=ToySettings(250, 64, 3e-2))  # fmt: skip
    found = run(settings, runs=tmp_path)
    kinds, (sparse, dense) = found.numbers["kinds"], found.numbers["collapse"]
    assert kinds["together"]["opposite"] == 0
    assert kinds["one of"]["opposite"] > kinds["independent"]["opposite_of_every_fit"]
    assert dense["collapsed"] > sparse["collapsed"]
    assert kinds["together"]["n_pairs"] == 8


def test_cosines_within_pairs_by_hand():
    weights = torch.tensor([[[1.0, -2.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]]])
    assert within(weights).tolist() == [[-1.0, 1.0]]


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(UserError, match="models = 0; wanted at least 1"):
        CompanySettings(models=0)
