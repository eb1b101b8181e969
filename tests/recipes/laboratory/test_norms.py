"""From the toy, the folds and the models to a verdict."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from monosemy.recipes.laboratory.norm_models import Learned, NormsConfig
from monosemy.recipes.laboratory.norms import (
    COSTS,
    claim_of,
    interval,
    means,
    measure_norms,
    pictures,
)
from monosemy.reports.norms import NUMBERS
from monosemy.tensors.compute import Compute


@pytest.fixture(scope="module")
def toy():
    return measure_norms(Compute(), None)


def models(extra):
    """Three seeds; the divisive norm costs `extra` more, as a share."""
    base = {0: 4.0, 1: 4.1, 2: 4.2}
    numbers = dict.fromkeys(NUMBERS, 0.5)
    return [
        Learned(kind, seed, loss * (1 + share), dict(numbers))
        for seed, loss in base.items()
        for kind, share in (("layernorm", 0.0), ("divisive", extra), ("none", 0.5))
    ]


def test_the_toy_and_the_folds_hold(toy):
    claim = claim_of(toy, NormsConfig(), Compute())
    assert claim.verdict == "holds"
    assert {finding.kind for finding in claim.findings} == {"reference", "planted", "null"}
    assert toy.folded < 1e-12
    told = toy.to_json()
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert [one.name for one in pictures(toy)] == ["norms-toy"]


@pytest.mark.parametrize(
    ("extra", "verdict"), [(0.5 * COSTS, "holds"), (2 * COSTS, "holds in part")]
)
def test_a_norm_that_costs_too_much_is_found(toy, extra, verdict):
    found = replace(toy, models=models(extra))
    claim = claim_of(found, NormsConfig(), Compute())
    assert claim.verdict == verdict
    said = [one for one in claim.findings if "loss with none" in one.what]
    assert said[0].holds is None  # asked, not claimed
    assert "divisive +" in claim.words
    assert [one.name for one in pictures(found)] == ["norms-toy", "norms-models"]


def test_differences_are_paired_by_seed():
    numbers = means(models(0.01))
    loss = numbers["divisive"]["loss"]
    assert loss["mean"] == pytest.approx(4.1 * 1.01)
    assert loss["difference"] == pytest.approx(0.041)
    # Unpaired the seeds' own spread (0.1) would be the width.
    assert loss["high"] - loss["low"] < 0.01


def test_the_interval_is_students():
    middle, low, high = interval(np.array([1.0, 2.0, 3.0]))
    assert middle == 2
    assert high - low == pytest.approx(2 * 4.303 / 3**0.5)
    assert interval(np.array([5.0])) == (5.0, 5.0, 5.0)
