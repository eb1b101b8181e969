"""The onset in small: the linear model keeps the top, ReLU more where features are sparse."""

from __future__ import annotations

import pytest

from monosemy.foundation.errors import UserError
from monosemy.recipes.laboratory.toy_onset import OnsetSettings, run
from monosemy.recipes.laboratory.toys import ToySettings


def test_sparse_features_are_kept_beyond_the_linear_ones(tmp_path):
    settings = OnsetSettings(6, 2, 0.7, (1.0, 0.1), 3, ToySettings(600, 64, 2e-2))
    found = run(settings, runs=tmp_path)
    linear, relu = found.numbers["models"]["linear"], found.numbers["models"]["relu"]
    assert [row["kept"] for row in linear] == [[0, 1], [0, 1]]
    assert relu[0]["kept"] == [0, 1]
    assert len(relu[1]["kept"]) > 2
    assert relu[1]["in_superposition"]


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(UserError, match="hidden = 5 for 5 features"):
        OnsetSettings(features=5)
    with pytest.raises(UserError, match="decay = 1; wanted between 0 and 1"):
        OnsetSettings(decay=1)
