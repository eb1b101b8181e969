"""Everything that is asked of a code: exact answers, kinds, nulls."""

from __future__ import annotations

import pytest
import torch

from monosemy.foundation.errors import UserError
from monosemy.recipes.laboratory.codes import CodesConfig, examine_code, examine_cube
from monosemy.superposition.coded import Coded, MadeConfig, made
from monosemy.superposition.factorisation import GLOBAL, SEPARATE
from monosemy.tensors.compute import Compute

SMALL = MadeConfig(positions=6, classes=3, width=16, samples=24)
LOOK = CodesConfig(least=10, draws=3)


def test_the_cube_is_exact():
    found = examine_cube(10, Compute(), draws=60)
    assert found["ccgp"] == 1
    assert found["parallelism"] == pytest.approx(1, abs=1e-6)
    assert (found["shattering_count"], found["dichotomies"]) == (7, 35)
    assert set(found["random"]["shattering_count"]) == {35}
    assert found["random"]["ccgp"] == pytest.approx(0.5, abs=0.06)
    with pytest.raises(UserError, match="width is 4; wanted at least 7"):
        examine_cube(4, Compute())


@pytest.mark.parametrize(("kind", "wanted"), [("global", GLOBAL), ("separate", SEPARATE)])
def test_a_made_code_is_named_with_its_nulls(kind, wanted):
    coded = made(kind, SMALL, torch.Generator().manual_seed(0))
    found = examine_code(coded, LOOK, Compute())
    position = found["variables"]["position"]
    assert position["kind"] == wanted
    assert position["decoding"] > 0.9
    high = kind == "global"
    assert (position["ccgp"]["value"] > 0.9) == (position["parallelism"]["value"] > 0.8) == high
    assert abs(position["ccgp"]["null"]["labels shuffled"]["mean"] - 0.5) < 0.06
    assert position["common"]["low"] <= position["common"]["value"] <= position["common"]["high"]
    assert found["samples"] == 6 * 3 * 24
    assert found == examine_code(coded, LOOK, Compute())


def test_one_variable_alone_is_refused():
    coded = made("global", SMALL, torch.Generator().manual_seed(0))
    alone = Coded(
        "mine", coded.x, coded.labels[:, :1], ("position",), coded.values[:1], coded.group
    )
    with pytest.raises(UserError, match=r"mine has one variable \(position\)"):
        examine_code(alone, LOOK, Compute())
    with pytest.raises(UserError, match="has 2 problems"):
        CodesConfig(least=1, draws=0)
