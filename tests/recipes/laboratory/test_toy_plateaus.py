"""Plateaus in small: pairs at the density for pairs, every dimension shared out, figures named."""

from __future__ import annotations

import json

import pytest

from monosemy.foundation.errors import UserError
from monosemy.recipes.laboratory.toy_plateaus import PlateauSettings, run
from monosemy.recipes.laboratory.toys import ToySettings
from monosemy.superposition.claims import NULL, PLANTED

SMALL = PlateauSettings(12, 3, (1, 3.0), 3, ToySettings(900, 64, 1.5e-2))


def test_pairs_where_pairs_are_best(tmp_path):
    found = run(SMALL, runs=tmp_path)
    told = json.loads(json.dumps(found.to_json()))
    dense, sparse = told["densities"]
    assert dense["dimensions_per_feature"] == pytest.approx(1, abs=0.05)
    assert sparse["plateaus"]["antipodal pair"] >= 0.9
    assert sparse["blocks"] == {"antipodal pair": 3}
    assert sparse["sum_of_dimensionalities"] == pytest.approx(3, abs=0.06)
    assert all(f.holds for f in found.findings if f.kind in (NULL, PLANTED))
    # One density of the two that were asked for cannot hold at three.
    assert found.verdict == "holds in part"


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(UserError, match="1 / density, at least 1 each"):
        PlateauSettings(ratios=(0.5,))
    with pytest.raises(UserError, match="features = 1; wanted at least 2"):
        PlateauSettings(features=1)
