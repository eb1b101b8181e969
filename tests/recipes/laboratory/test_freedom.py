"""From settings to findings about freedom; in the specimen and in real models too."""

from __future__ import annotations

import json

import pytest

from monosemy.foundation.errors import UserError
from monosemy.recipes.laboratory import freedom
from monosemy.recipes.laboratory.freedom import (
    FreedomConfig,
    claim_of,
    expected,
    measure_freedom,
    picture,
)
from monosemy.tensors.compute import Compute

SMALL = {"width": 12, "pools": 3, "draws": 1, "keys": 15}


def test_toys_meet_their_formulas_and_the_json_says_so():
    found = measure_freedom(FreedomConfig(**SMALL), Compute())
    told = found.to_json()
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    for kind, (wide, deep) in expected(12, 3).items():
        assert (told[kind]["span"], told[kind]["intrinsic"]) == (wide, deep)
    assert told["unselectable_keys"]["share"]["4"]["layernorm"] == 0
    assert told["model"] is None
    assert claim_of(found, Compute(), {}).verdict in ("holds", "holds in part")
    assert picture(found).svg.startswith("<?xml")


def test_with_sigma_nothing_is_lost():
    told = measure_freedom(FreedomConfig(**SMALL, sigma=0.5), Compute()).to_json()
    assert told["divisive"]["intrinsic"] == 12


def test_a_wrong_norm_fails_the_claim(monkeypatch):
    monkeypatch.setattr(freedom, "expected", lambda width, pools: {"layernorm": (12, 11)})
    found = measure_freedom(FreedomConfig(**SMALL), Compute())
    assert claim_of(found, Compute(), {}).verdict == "holds in part"


def test_refusals():
    with pytest.raises(UserError) as told:
        FreedomConfig(width=2, sigma=-1, draws=0, keys=1, site="x")
    for reason in (
        "width = 2; wanted at least 3",
        "sigma = -1",
        "draws = 0",
        "keys = 1",
        "without a model",
    ):
        assert reason in str(told.value)
    with pytest.raises(UserError, match="pools = 12 of one axis each"):
        FreedomConfig(width=12, pools=12)
    with pytest.raises(UserError, match="width = 12,288; wanted at most 4,096"):
        FreedomConfig(width=12288)
