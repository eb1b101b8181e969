import pytest
import torch

from monosemy.data.features.worlds import open_world
from monosemy.recipes import truth_arms
from monosemy.recipes.truth_arms import ARMS, Around, numbers_in
from monosemy.recipes.truth_protocol import protocol_for
from monosemy.tensors.compute import Compute

WORLD = "conditional-rotated"


@pytest.fixture(scope="module")
def around():
    protocol = protocol_for(WORLD, {"tokens": 20_480, "latents": 100})
    return Around(open_world(WORLD), protocol, Compute())


def test_controls_keep_the_protocols_l0(around):
    for name, latents in (("pca", 48), ("random", 100)):
        reader = ARMS[name](around)
        code, _ = reader.read(around.first)
        assert reader.directions.shape == (latents, 48)
        assert (code.counts <= around.protocol.k).all()


def test_numbers_are_counted(around):
    assert numbers_in(ARMS["random"](around)) == 100 * 48 * 2 + 100 + 48
    assert numbers_in(ARMS["oracle"](around)) == 100 * 48 + 48


def test_oracle_and_probe_know_the_most_frequent_features(around, monkeypatch):
    monkeypatch.setattr(truth_arms, "PROBES", 30)
    rates = around.world.features.rates
    oracle, probe = ARMS["oracle"](around), ARMS["probe"](around)
    for reader, count in ((oracle, 100), (probe, 30)):
        assert len(reader.told) == count
        left_out = torch.ones_like(rates, dtype=torch.bool)
        left_out[reader.told] = False
        assert rates[reader.told].min() >= rates[left_out].max()
    assert numbers_in(probe) == 2 * 30 * 48 + 30
