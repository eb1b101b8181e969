"""Own axes in a small toy: reserved they end superposition, free they are crowded again."""

import pytest

from monosemy.foundation.errors import UserError
from monosemy.recipes.laboratory.toy_allocation import FREE, OWN, AllocationSettings, run
from monosemy.recipes.laboratory.toys import ToySettings


def test_a_reserved_axis_ends_superposition(tmp_path):
    settings = AllocationSettings(
        8, 2, 1, 0.05, 4, 2, 40, ToySettings(600, 128, 1e-2), ToySettings(300, 128, 3e-3)
    )
    found = run(settings, runs=tmp_path)
    before, after = found.numbers["before"], found.numbers["after"]
    assert before["dimensionality"] < 0.7
    assert after[OWN]["dimensionality"] > 0.95
    assert after[OWN]["chosen_loss"] < 0.1 * before["chosen_loss"]
    assert after[OWN]["others_loss"] < before["others_loss"] * 1.05
    assert after[FREE]["dimensionality"] < after[OWN]["dimensionality"]
    assert found.findings[0].ours == 0
    assert "<svg" in found.pictures[0].svg


def test_settings_that_cannot_be_are_refused_at_once():
    with pytest.raises(UserError, match=r"(?s)hidden = 9 for 8 features.*instances = 1.*moves = 0"):
        AllocationSettings(features=8, hidden=9, instances=1, moves=0)
