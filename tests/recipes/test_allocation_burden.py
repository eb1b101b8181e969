"""The burden before and after a move, on the tiny model."""

import math

import pytest
import torch

from monosemy.recipes.allocation import AllocationConfig, arm, assign, pick, trainable
from monosemy.recipes.allocation_burden import measure_burden, standing
from monosemy.recipes.allocation_ground import open_ground

CONFIG = AllocationConfig(count=2, tokens=2000, heldout=1000)


@pytest.fixture(scope="module")
def moved(allocation_run):
    ground = open_ground(allocation_run, 2000, 1000)
    chosen = pick(ground, CONFIG, ground.density.topk(2).indices.tolist())
    model, done = arm("allocated", ground, chosen, assign(ground, chosen, CONFIG), CONFIG)
    done.move(1.0)
    return ground, chosen, model, done


def test_own_axes_are_read_better_by_fewer_weights(moved):
    ground, chosen, model, done = moved
    before = measure_burden(ground, chosen, trainable(ground.model), None)
    after = measure_burden(ground, chosen, model, done)
    assert after["decodability"]["axes"][0] > before["decodability"]["axes"][0]
    assert after["reading_weights"] < before["reading_weights"] / 4
    assert after["interference"] < before["interference"]
    for name in ("curvature_features", "curvature_parameters", "reading_strength"):
        assert math.isfinite(after[name])
    # A wider model that holds nothing new is read as before, but for the mean of the stream, which
    # widening takes away: one of 16 dimensions.
    wide, _ = arm("widened", ground, chosen, done.assignment, CONFIG)
    same = measure_burden(ground, chosen, wide, None, curvature=False)
    assert same["interference"] == pytest.approx(before["interference"], rel=1e-3)
    assert same["decodability"]["subspace"] == pytest.approx(
        before["decodability"]["subspace"], abs=0.02
    )


def test_a_feature_stands_on_its_axis_as_long_as_before(moved):
    ground, chosen, model, done = moved
    old, new = (
        standing(ground, chosen, trainable(ground.model), None),
        standing(ground, chosen, model, done),
    )
    torch.testing.assert_close(old.norm(dim=1), new.norm(dim=1))
    assert torch.equal((new != 0).sum(1), torch.tensor([1, 1]))
    assert torch.equal(new.abs().argmax(1), done.axes)
