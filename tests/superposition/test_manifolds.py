"""Dimensions and shapes of clouds: planted circles are found, clouds and mixtures are not."""

from __future__ import annotations

import math

import pytest
import torch

from monosemy.foundation.errors import UserError
from monosemy.superposition.manifolds import mixture, separability, shape, two_nn

MANY = 2000


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


def ring(seed=0, low=1.0, high=1.0, noise=0.0, width=2, many=MANY):
    generator = draw(seed)
    turn, size = torch.rand(2, many, generator=generator)
    x = torch.zeros(many, width)
    radius = low + (high - low) * size
    x[:, 0], x[:, 1] = radius * (2 * math.pi * turn).cos(), radius * (2 * math.pi * turn).sin()
    return x + noise * torch.randn(many, width, generator=generator)


def crossing(seed=0):
    generator = draw(seed)
    values = torch.randn(MANY, generator=generator)
    which = torch.rand(MANY, generator=generator) < 0.5
    return torch.stack([values * which, values * ~which], 1) + 0.02 * torch.randn(
        MANY, 2, generator=generator
    )


@pytest.mark.parametrize(
    ("cloud", "wanted"),
    [
        (ring(), 1),
        (torch.rand(MANY, 2, generator=draw()), 2),
        (torch.randn(MANY, 5, generator=draw()) @ torch.randn(5, 12, generator=draw(1)), 5),
    ],
)
def test_dimensions_of_planted_clouds(cloud, wanted):
    found = two_nn(cloud, draw())
    assert found.value == pytest.approx(wanted, rel=0.1)
    assert found.low < found.value < found.high
    assert found.points == MANY


def test_equal_points_count_once_and_few_are_refused():
    doubled = torch.cat([ring(many=400)] * 2)
    assert two_nn(doubled, draw()).points == 400
    with pytest.raises(UserError, match="1 different points; wanted at least 50"):
        two_nn(torch.zeros(300, 4), draw())


@pytest.mark.parametrize("seed", [3, 4, 5])
@pytest.mark.parametrize(
    "options", [{}, {"noise": 0.1}, {"low": 1.0, "high": 2.0}, {"noise": 0.05, "width": 9}]
)
def test_circles_are_found(seed, options):
    found, axes, plane = shape(ring(seed, **options))
    assert found.circular
    assert axes[:, :2].square().sum() > 1.9
    assert plane.square().mean(0).allclose(torch.ones(2), atol=0.01)


@pytest.mark.parametrize("seed", [3, 4, 5])
def test_clouds_and_mixtures_are_no_circles(seed):
    generator = draw(seed)
    for width in (2, 8):
        assert not shape(torch.randn(MANY, width, generator=generator))[0].circular
    assert not shape(torch.rand(MANY, 2, generator=generator))[0].circular
    assert not shape(crossing(seed))[0].circular
    sparse = torch.rand(MANY, 2, generator=generator) * (
        torch.rand(MANY, 2, generator=generator) < 0.3
    )
    assert not shape(sparse)[0].circular


def test_indices_by_theory():
    gauss = torch.randn(20_000, 2, generator=draw())
    assert separability(gauss) == pytest.approx(0, abs=0.01)
    # 2 Φ(0.1) - 1 through the middle.
    assert mixture(gauss) == pytest.approx(0.0797, abs=0.012)
    # The band 1 - 2w to 1 of a circle, w = 0.1 sqrt(1/2 + (1 - w)²): 2 acos(1 - 2w) / 2π.
    w = 0.12
    for _ in range(50):
        w = 0.1 * math.sqrt(0.5 + (1 - w) ** 2)
    assert mixture(ring(many=20_000)) == pytest.approx(math.acos(1 - 2 * w) / math.pi, abs=0.01)
    assert mixture(crossing()) > 0.45
    assert separability(ring()) > 1


def test_indices_do_not_care_how_the_plane_is_turned():
    x, turn = ring(noise=0.2), torch.tensor([[0.6, -0.8], [0.8, 0.6]])
    assert separability(x @ turn) == pytest.approx(separability(x), abs=0.03)
    assert mixture(x @ turn) == pytest.approx(mixture(x), abs=0.01)


def test_lines_and_few_points_are_refused():
    with pytest.raises(UserError, match="lie on one line"):
        shape(torch.arange(100.0)[:, None] * torch.ones(100, 3))
    with pytest.raises(UserError, match="20 points; wanted at least 50"):
        shape(ring(many=20))
