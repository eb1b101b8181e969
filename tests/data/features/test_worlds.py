from dataclasses import replace

import pytest
import torch

from monosemy.data.features.trees import TreeConfig, tree_world
from monosemy.data.features.worlds import WORLDS, open_world
from monosemy.foundation.errors import UserError

SLOW = ("synthsaebench-16k",)
SIZES = {  # features, width, true L0
    "conditional-rotated": (480, 48, 3.24),
    "conditional-analogy": (480, 48, 3.24),
    "conditional-unshared": (480, 48, 3.24),
    "conditional-deep": (1008, 64, 6 * 0.15 * (1 + 0.8 + 0.64)),
    "circles": (48, 24, 24 * 0.06 * 2),
    "manifolds": (66, 32, 0.06 * 66),
    "mixture": (160, 48, 0.02 * 160),
    "synthsaebench-2k": (2048, 256, 12.07),
    "synthsaebench-16k": (16_384, 768, 34.5),
}


def test_every_world_is_listed():
    assert set(WORLDS) == set(SIZES)
    assert all(about[0].islower() or about[0].isdigit() for about in WORLDS.values())


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in SIZES]
)
def test_a_named_world_is_what_it_says(name, deviations):
    # Pushing 16,384 directions apart takes a minute and changes nothing that is asked here.
    world = (
        tree_world(replace(TreeConfig(), steps=0), 0, name) if name in SLOW else open_world(name)
    )
    features, width, l0 = SIZES[name]
    assert world.features.name == name
    assert world.features.directions.shape == (features, width)
    assert world.features.true_l0 == pytest.approx(l0, rel=3e-3)
    samples = world.sample(20_000, torch.Generator().manual_seed(1))
    assert samples.truth.counts.double().mean() == pytest.approx(l0, rel=0.02)
    often = world.features.rates * 20_000 > 30
    off = deviations(samples.truth, world.features.rates)[often]
    assert off.abs().max() < 5.5
    assert off.std() == pytest.approx(1, abs=0.4)  # 24 manifolds count together: ±0.15


def test_the_reduced_benchmark_has_the_structure_of_the_published_one():
    features = open_world("synthsaebench-2k").features
    assert torch.bincount(features.levels).tolist() == [16 + 688, 64, 256, 1024]
    # 128 roots with 4, 16, 64 below, and as large a share of all features in trees.
    assert 1360 / 2048 == (128 * 85) / 16_384


def test_worlds_of_other_seeds_are_others():
    assert open_world("circles", 1).fingerprint != open_world("circles", 0).fingerprint
    assert open_world("circles", 1) is open_world("circles", 1)


def test_an_unknown_world_is_told_all_known_ones():
    with pytest.raises(UserError) as caught:
        open_world("conditional-rotate")
    said = str(caught.value)
    assert said.startswith(
        "unknown world 'conditional-rotate'; did you mean 'conditional-rotated'?; known worlds:\n"
        "  conditional-rotated: exclusive parents share 3-d subspaces and turn their children in them\n"
    )
    assert all(f"\n  {name}: " in said for name in WORLDS)
