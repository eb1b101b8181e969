from dataclasses import replace

import pytest
import torch

from monosemy.data.features.law import Rule
from monosemy.data.features.manifolds import ManifoldConfig, manifold_world
from monosemy.foundation.errors import UserError

EVERY = ManifoldConfig(width=20, discrete=3, circles=2, tori=1, curves=2)


def test_axes_are_numbered_kind_by_kind_and_orthonormal_within_a_chart():
    features = manifold_world(EVERY).features
    assert features.charts.tolist() == [-1] * 3 + [0, 0, 1, 1, 2, 2, 2, 2, 3, 3, 3, 4, 4, 4]
    assert features.levels.unique().tolist() == [0]
    for chart in range(5):
        axes = features.directions[features.charts == chart]
        torch.testing.assert_close(axes @ axes.T, torch.eye(len(axes)), rtol=0, atol=1e-5)


def test_a_gated_value_has_its_gate_for_a_parent():
    features = manifold_world(replace(EVERY, gated=True)).features
    assert features.count == 3 + 5 + 14
    assert torch.bincount(features.levels).tolist() == [8, 14]
    parents = features.parents[features.levels == 1]
    assert torch.bincount(parents)[torch.bincount(parents) > 0].tolist() == [2, 2, 4, 3, 3]
    assert features.true_l0 == pytest.approx(0.06 * 22)


@pytest.mark.parametrize("gated", [False, True])
def test_activations_lie_on_the_manifolds(gated):
    """One manifold always on, without noise: what is written satisfies the manifold's equations."""
    for kind, rule in (("circles", Rule.CIRCLE), ("tori", Rule.TORUS), ("curves", Rule.CURVE)):
        config = ManifoldConfig(width=8, gated=gated, rate=1.0, size=(2.0, 2.0), noise=0.0)
        world = manifold_world(replace(config, **{kind: 1}))
        samples = world.sample(1000, torch.Generator().manual_seed(0))
        axes = world.features.directions[world.features.charts == 0]
        size = 2.0 * (config.value_size if gated else 1.0)
        rest = samples.x
        if gated:
            rest = rest - 2.0 * world.features.directions[0]
        point = rest @ axes.T / size
        torch.testing.assert_close(point @ axes * size, rest, rtol=0, atol=1e-4)
        one = torch.ones(1000)
        squares = point.square()
        if rule == Rule.CIRCLE:
            torch.testing.assert_close(squares.sum(1), one)
        elif rule == Rule.TORUS:
            torch.testing.assert_close(squares[:, :2].sum(1), one / 2)
            torch.testing.assert_close(squares[:, 2:].sum(1), one / 2)
        else:
            point = point / (2 / 3) ** 0.5
            torch.testing.assert_close(point[:, :2].square().sum(1), one)
            double = 2 * point[:, 0] * point[:, 1]
            torch.testing.assert_close(point[:, 2], double, rtol=0, atol=1e-4)
        assert squares.sum(1).mean() == pytest.approx(1.0, abs=0.05)
        assert point.mean(0).abs().max() < 0.1


def test_every_field_has_an_effect():
    changes = {
        "width": 19, "discrete": 4, "circles": 3, "tori": 2, "curves": 1, "gated": True, "rate": 0.1,
        "size": (1.0, 1.5), "noise": 0.1,
    }  # fmt: skip
    plain = manifold_world(EVERY).fingerprint
    for name, value in changes.items():
        assert manifold_world(replace(EVERY, **{name: value})).fingerprint != plain, name
    gated = replace(EVERY, gated=True)
    changed = replace(gated, value_size=0.5)
    assert manifold_world(changed).fingerprint != manifold_world(gated).fingerprint
    assert {*changes, "value_size"} == set(ManifoldConfig.__dataclass_fields__)


def test_worlds_that_cannot_be_are_refused_with_all_reasons():
    with pytest.raises(UserError) as caught:
        manifold_world(
            ManifoldConfig(width=3, discrete=1, tori=1, curves=-1, rate=0.0, size=(0.0, 1.0))
        )
    assert str(caught.value) == (
        "this world of manifolds has 4 problems:\n"
        "  - curves is -1; wanted 0 or more\n"
        "  - tori need 4 dimensions and the width is 3\n"
        "  - rate is 0.0; wanted a probability above 0, at most 1\n"
        "  - size is from 0.0 to 1.0; wanted 0 < smallest <= largest"
    )
    with pytest.raises(
        UserError, match="there is nothing in this world; ask for discrete features"
    ):
        manifold_world(ManifoldConfig())
