"""Dimensions that are known: subspaces, spheres, pools; keys inside and outside a hull."""

from __future__ import annotations

import pytest
import torch

from monosemy.foundation.errors import UserError
from monosemy.models.norms import DivisiveNorm, LayerNorm, PooledNorm, RMSNorm
from monosemy.superposition.freedom import (
    jacobian_rank,
    jacobian_values,
    participation_ratio,
    span,
    two_nn,
    unselectable,
)

D = 12


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def test_the_span_of_a_planted_subspace():
    frame = torch.linalg.qr(normal(D, 5))[0]
    assert span(normal(40, 5, seed=1) @ frame.T) == 5
    assert span(normal(40, D)) == D
    with pytest.raises(
        UserError, match="5 points of 12 axes; a span needs at least as many points"
    ):
        span(normal(5, D))


@pytest.mark.parametrize(
    ("norm", "wide", "deep"),
    [
        (LayerNorm(D, 0.0), D - 1, D - 2),
        (RMSNorm(D, 0.0), D, D - 1),
        (DivisiveNorm(D, 3, 0.0), D, D - 3),
        (DivisiveNorm(D, 3, 0.5), D, D),
        # Pools that overlap lose their common scale alone.
        (PooledNorm(D, 3, 0.0, draw=torch.Generator().manual_seed(0)), D, D - 1),
    ],
)
def test_what_norms_leave(norm, wide, deep):
    norm = norm.double()
    with torch.no_grad():
        assert span(norm.normalised(normal(60, D))) == wide
    assert jacobian_rank(norm.normalised, normal(D)) == deep


def test_eps_opens_the_radius_by_its_share():
    z, eps = normal(D), 1e-3
    values = jacobian_values(LayerNorm(D, eps).double().normalised, z)
    assert float(values[D - 2] / values[0]) == pytest.approx(eps / (z.var(unbiased=False) + eps))
    assert jacobian_rank(LayerNorm(D, eps).double().normalised, z) == D - 1


def test_participation_counts_axes_that_carry_as_much():
    assert participation_ratio(torch.eye(D)) == pytest.approx(D)
    one = torch.zeros(20, D)
    one[:, 3] = 1
    assert participation_ratio(one) == pytest.approx(1)
    # About the mean nothing varies but what varies.
    rows = normal(5000, 4) @ torch.eye(4, D).double() + 100
    assert participation_ratio(rows) < 1.1
    assert participation_ratio(rows, centred=True) == pytest.approx(4, rel=0.02)


@pytest.mark.parametrize("dimension", [2, 5])
def test_two_nn_finds_planted_spheres_in_many_axes(dimension):
    ball = torch.nn.functional.normalize(normal(2000, dimension + 1), dim=1)
    frame = torch.linalg.qr(normal(30, dimension + 1, seed=1))[0]
    assert two_nn(ball @ frame.T) == pytest.approx(dimension, rel=0.1)


def test_two_nn_is_not_misled_by_points_that_come_twice():
    square = torch.rand(1500, 2, generator=torch.Generator().manual_seed(0))
    assert two_nn(torch.cat([square, square])) == pytest.approx(two_nn(square))
    with pytest.raises(UserError, match="1 different points; TwoNN needs at least 20"):
        two_nn(torch.ones(50, 3))


def test_a_key_in_the_middle_of_others_cannot_be_chosen():
    square = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1], [0.2, 0.1], [2, 0]])
    assert unselectable(square).tolist() == [False, False, False, False, True, False]
    with pytest.raises(UserError, match="1 keys; wanted at least 2"):
        unselectable(square[:1])


def test_random_keys_are_freed_by_a_layer_norm():
    keys = normal(60, 4)
    raw = float(unselectable(keys).double().mean())
    assert 0.3 < raw < 0.65
    assert not unselectable(LayerNorm(4, 0.0).double().normalised(keys)).any()
