from dataclasses import replace

import pytest
import torch

from monosemy.data.features.building import described
from monosemy.data.features.world import World
from monosemy.foundation.errors import UserError
from monosemy.tensors import workers


@pytest.fixture
def world(law) -> World:
    directions = torch.randn(15, 6, generator=torch.Generator().manual_seed(0))
    directions = directions / directions.norm(dim=1, keepdim=True)
    features = described("a world", law, directions, torch.full((15,), -1))
    return World(features, law, torch.arange(6.0), 0.0)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_sample_is_the_sum_of_what_is_active_and_the_bias(world):
    samples = world.sample(300, generator())
    wanted = samples.truth.dense() @ world.features.directions + world.bias
    torch.testing.assert_close(samples.x, wanted)


def test_activations_are_those_of_the_samples(world):
    noisy = replace(world, noise=0.3)
    assert torch.equal(noisy.activations(50, generator()), noisy.sample(50, generator()).x)


def test_threads_do_not_change_a_number(world, monkeypatch):
    drawn = []
    for threads in (1, 3):
        monkeypatch.setattr(workers, "_threads", lambda threads=threads: threads)
        drawn.append(replace(world, noise=0.3).activations(3000, generator()))
    assert torch.equal(*drawn)


def test_a_negative_number_of_samples_is_refused(world):
    with pytest.raises(UserError, match="-1 samples: wanted 0 or more"):
        world.sample(-1, generator())
    assert world.sample(0, generator()).x.shape == (0, 6)


def test_noise_is_white_and_of_its_size(world):
    noisy = replace(world, noise=0.3)
    samples = noisy.sample(20_000, generator())
    rest = samples.x - samples.truth.dense() @ world.features.directions - world.bias
    covariance = rest.T @ rest / len(rest)
    assert (covariance - 0.09 * torch.eye(6)).abs().max() < 5 * 0.09 * 2**0.5 / len(rest) ** 0.5


def test_noise_leaves_the_truth_as_it_is(world):
    quiet, noisy = world.sample(50, generator()), replace(world, noise=0.3).sample(50, generator())
    assert torch.equal(quiet.truth.dense(), noisy.truth.dense())


def test_the_fingerprint_is_of_everything_but_the_name(world, make_law):
    features = world.features
    named = replace(world, features=replace(features, name="another"))
    assert named.fingerprint == world.fingerprint
    turned = replace(world, features=replace(features, directions=-features.directions))
    others = [
        replace(world, noise=0.1),
        replace(world, bias=world.bias + 1),
        turned,
        replace(world, law=make_law(uniform=True)),
    ]
    assert len({w.fingerprint for w in [world, *others]}) == 5


def test_laws_that_cannot_be_are_refused(world, make_law):
    chance = world.law.chance.clone()
    chance[6] = 2.0
    with pytest.raises(UserError, match="feature 6: fires with probability 2; wanted 0 to 1"):
        replace(world, law=make_law(chance=chance))
    few = described("few", world.law, torch.eye(15, 6), torch.full((15,), -1))
    few = replace(few, directions=torch.eye(3), parents=few.parents[:3], levels=few.levels[:3],
                  rates=few.rates[:3], charts=few.charts[:3])  # fmt: skip
    with pytest.raises(UserError) as caught:
        World(few, make_law(chance=chance), torch.zeros(3))
    assert str(caught.value) == (
        "the world 'few' has 2 problems:\n"
        "  - feature 6: fires with probability 2; wanted 0 to 1\n"
        "  - the law has 15 features and 3 are described"
    )
