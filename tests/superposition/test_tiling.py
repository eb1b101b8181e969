"""Tiles of a circle, families of latents, subspaces of clusters: by hand, planted, and by chance."""

from __future__ import annotations

import math

import pytest
import torch

from monosemy.foundation.errors import UserError
from monosemy.superposition.tiling import (
    captured,
    families,
    gaussian_like,
    of_chance,
    tiles,
    together,
)


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


def spread(many, width=6):
    angles = torch.arange(many) * 2 * math.pi / many
    x = torch.zeros(many, width)
    x[:, 0], x[:, 1] = angles.cos(), angles.sin()
    return x


@pytest.mark.parametrize("many", [2, 4, 9])
def test_evenly_spread_tiles_have_even_gaps(many):
    plane = torch.eye(6)[:2]
    found = tiles(torch.cat([spread(many), torch.eye(6)[2:]]), plane)
    assert found.count == many
    assert found.gap == pytest.approx(360 / many, abs=1e-3)
    assert found.latents == tuple(range(many))


def test_a_plane_without_tiles():
    found = tiles(torch.eye(6)[2:], torch.eye(6)[:2])
    assert (found.count, found.gap) == (0, 360)


def test_chance_is_what_random_directions_do():
    directions = torch.nn.functional.normalize(torch.randn(200_000, 6, generator=draw()), dim=1)
    share = tiles(directions, torch.eye(6)[:2], 0.8).count / len(directions)
    assert share == pytest.approx(of_chance(0.8, 6), rel=0.05)


def test_correlation_of_firing_by_hand():
    active = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 1], [0, 0, 0]]).bool()
    phi = together(active)
    assert phi[0, 1] == pytest.approx(1)
    assert phi[0, 2] == pytest.approx(-(0.5 * 0.25) / (0.5 * (0.25 * 0.75) ** 0.5))


def test_four_rays_of_a_circle_are_one_family_and_plain_features_are_alone():
    angle = 2 * math.pi * torch.rand(4000, generator=draw())
    on = torch.rand(4000, 1, generator=draw(1)) < 0.3
    rays = torch.stack([angle.cos(), angle.sin(), -angle.cos(), -angle.sin()], 1).clamp_min(0) * on
    plain = torch.rand(4000, 2, generator=draw(2)) < 0.1
    directions = torch.cat([spread(4), torch.eye(6)[3:5]])
    found = families(directions, torch.cat([rays > 0, plain], 1))
    assert len(found[:4].unique()) == 1
    assert len(found.unique()) == 3
    alone = torch.rand(4000, 6, generator=draw(3)) < 0.1
    assert len(families(directions, alone).unique()) == 6


def test_a_fine_tiling_hangs_together_by_direction():
    assert len(families(spread(12), torch.zeros(10, 12).bool()).unique()) == 1
    assert len(families(spread(6), torch.zeros(10, 6).bool()).unique()) == 6
    with pytest.raises(UserError, match="cosine is 0; wanted above 0"):
        families(spread(6), torch.zeros(10, 6).bool(), cosine=0)


def test_local_subspaces_gain_where_they_are_planted_and_nowhere_else():
    axes = torch.linalg.qr(torch.randn(4, 16, 2, generator=draw()))[0]
    which = torch.randint(4, (2000,), generator=draw(1))
    x = torch.einsum("nr,ndr->nd", torch.randn(2000, 2, generator=draw(2)), axes[which])
    x = x + 6 * torch.randn(4, 16, generator=draw(3))[which]
    own = captured(x, 4, 2, draw())
    assert own.local > 0.99
    assert own.gain > 0.3
    null = captured(gaussian_like(x, draw()), 4, 2, draw())
    assert abs(null.gain) < 0.05
    shared = (
        torch.randn(2000, 2, generator=draw(4)) @ axes[0].T
        + 6 * torch.randn(4, 16, generator=draw(3))[which]
    )
    assert abs(captured(shared, 4, 2, draw()).gain) < 0.01


def test_the_null_has_the_same_covariance():
    x = torch.randn(20_000, 5, generator=draw()) @ torch.randn(5, 5, generator=draw(1)) + 3
    other = gaussian_like(x, draw(2))
    assert torch.cov(other.T).allclose(torch.cov(x.T), rtol=0.1, atol=0.2)
    assert other.mean(0).allclose(x.mean(0), atol=0.1)


def test_too_few_points_are_refused():
    with pytest.raises(UserError, match="20 points for 4 clusters of rank 2; wanted at least 64"):
        captured(torch.randn(20, 8, generator=draw()), 4, 2, draw())
    with pytest.raises(UserError, match="a rank from 1 to below the width"):
        captured(torch.randn(2000, 8, generator=draw()), 4, 8, draw())
