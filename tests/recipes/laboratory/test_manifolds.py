"""Circles that a dictionary learns, and the dictionary of a run."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.selection import BatchTopK
from monosemy.foundation.errors import UserError
from monosemy.recipes.laboratory.manifolds import (
    PlantedConfig,
    RunConfig,
    examine_planted,
    loudest,
    planes_of,
    shapes_of,
)
from monosemy.tensors.codes import SparseCode
from monosemy.tensors.compute import Compute

SMALL = PlantedConfig(
    circles=2, discrete=4, width=24, rate=0.2, latents=(32,), steps=400, batch=128, samples=3000
)


QUICK = replace(SMALL, steps=5, samples=1000)


@pytest.mark.slow
def test_learned_latents_lie_on_circles_and_random_ones_do_not():
    found = examine_planted(SMALL, Compute(seed=2))
    one = found["sizes"][0]
    assert one["tiles"]["mean"] >= 2
    assert one["random"]["mean"] < 0.5
    assert one["explained"] > 0.8
    assert found["random"]["circular"] == 0
    assert found["learned"]["wrong"] == 0
    assert found["samples"] == 3000


def test_a_dictionary_that_learned_nothing_finds_no_circle():
    found = examine_planted(QUICK, Compute(seed=2))
    assert found["learned"]["found"] == found["random"]["circular"] == 0
    assert found["sizes"][0]["random"]["mean"] < 0.5
    assert found["planted"]["circles"] == found["learned"]["circles"] == 2


def test_planes_are_those_of_the_world():
    planes = planes_of(SMALL.world(0))
    assert planes.shape == (2, 2, 24)
    assert torch.allclose(planes @ planes.transpose(1, 2), torch.eye(2).expand(2, 2, 2), atol=1e-5)


def test_a_perfect_dictionary_shows_every_circle():
    world = PlantedConfig().world(7)
    planes = planes_of(world)
    rays = torch.cat([torch.cat([plane, -plane]) for plane in planes])
    plain = world.features.directions[world.features.charts < 0]
    rows = torch.cat([rays, plain])
    truth = world.sample(6000, Compute(seed=7).generator("x")).truth.dense()
    dense = torch.zeros(6000, len(rows))
    for number, chart in enumerate(world.features.charts.unique()[1:]):
        values = truth[:, world.features.charts == chart]
        dense[:, 4 * number : 4 * number + 4] = torch.cat([values, -values], 1).clamp_min(0)
    dense[:, len(rays) :] = truth[:, world.features.charts < 0]
    code = SparseCode.from_dense(dense)
    dictionary = FlatDictionary.tied(rows, torch.zeros(48), BatchTopK(3))
    shapes = shapes_of(dictionary, code, torch.arange(len(rows)))
    assert len(shapes) == 6
    assert all(one["circular"] and len(one["latents"]) == 4 for one in shapes)


def test_the_loudest_fire_often_enough():
    dense = torch.zeros(400, 5)
    dense[:200, 0], dense[:100, 1], dense[:20, 2], dense[:300, 3] = 2.0, 3.0, 9.0, 0.01
    assert loudest(SparseCode.from_dense(dense), 9).tolist() == [1, 0]
    assert loudest(SparseCode.from_dense(dense), 1).tolist() == [1]


def test_what_cannot_be_is_refused():
    with pytest.raises(UserError, match="has 2 problems"):
        PlantedConfig(circles=0, latents=(4,))
    with pytest.raises(UserError, match="tokens is 5; wanted at least 1000"):
        RunConfig(tokens=5)
