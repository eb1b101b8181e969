import pytest
import torch

from monosemy.data.features.worlds import WORLDS, open_world
from monosemy.foundation.errors import UserError
from monosemy.recipes.truth_protocol import PROTOCOLS, protocol_for, true_l0, world_seed


def test_l0_is_that_of_the_features_a_dictionary_can_hold():
    features = open_world("conditional-rotated").features
    rates = features.rates.double().sort(descending=True).values
    assert true_l0(features, 10) == pytest.approx(float(rates[:10].sum()))
    assert true_l0(features, 10_000) == pytest.approx(features.true_l0)
    assert protocol_for("conditional-rotated").l0 == pytest.approx(3.24)
    assert protocol_for("conditional-rotated", {"latents": 96}).l0 < 2
    assert protocol_for("conditional-rotated", {"l0": 5.0}).l0 == 5


def test_the_published_protocol():
    protocol = PROTOCOLS["synthsaebench-16k"]
    assert (protocol.latents, protocol.tokens, protocol.batch) == (4096, 200_000_000, 1024)
    assert (protocol.learning_rate, protocol.decay, protocol.samples) == (3e-4, 1 / 3, 500_000)
    assert [share * 4096 for share in protocol.prefixes] == [128, 512, 2048, 4096]


@pytest.mark.slow
def test_the_published_l0():
    features = open_world("synthsaebench-16k").features
    assert protocol_for("synthsaebench-16k").l0 == 25
    assert true_l0(features, 4096) == pytest.approx(25, abs=0.5)


def test_every_small_world_has_conditions():
    for world in sorted(WORLDS.keys() - {"synthsaebench-16k"}):
        protocol = protocol_for(world)
        assert 1 <= protocol.k <= protocol.latents
        assert protocol.steps > 100
        if world not in PROTOCOLS:
            continue
        ends = torch.tensor(protocol.prefixes) * protocol.latents
        torch.testing.assert_close(ends, ends.round(), msg=f"prefixes of {world} are whole")


def test_whether_seeds_share_a_world():
    assert world_seed(protocol_for("conditional-rotated"), 3) == 3
    assert world_seed(protocol_for("synthsaebench-2k"), 3) == 0


def test_one_latent_at_least():
    assert protocol_for("conditional-rotated", {"l0": 0.2}).k == 1


def test_conditions_that_cannot_be():
    with pytest.raises(UserError, match="latents = 0; wanted at least 1"):
        protocol_for("conditional-rotated", {"latents": 0})
    with pytest.raises(UserError, match="l0 = inf; wanted a number of active latents"):
        protocol_for("conditional-rotated", {"l0": float("inf")})
