"""Burden in closed form: dimensions, noise, weights, tokens; planted, permuted, turned, and null."""

import math

import pytest
import torch

from monosemy.foundation.errors import UserError
from monosemy.growth.burden import decodability, interference, reach, reading_weights


def _stream(tokens=4000, width=16):
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(tokens, width, generator=draw, dtype=torch.float64)
    return x, torch.arange(tokens) // 100, draw


def test_what_stands_on_an_axis_is_read_from_one_axis():
    x, document, _ = _stream()
    found = decodability(x, 2 * x[:, [3]] + 1, document)
    assert float(found.axes[0]) == pytest.approx(1, abs=1e-6)
    assert float(found.subspace[0]) == pytest.approx(1, abs=0.02)
    assert found.axes_interval[0][0] <= float(found.axes[0].mean()) + 1e-9


def test_what_is_spread_over_eight_axes_needs_them_all_but_only_one_dimension():
    x, document, _ = _stream()
    found = decodability(x, x[:, :8].sum(1, keepdim=True), document)
    for place, k in enumerate((1, 2, 4, 8)):
        assert float(found.axes[place]) == pytest.approx(k / 8, abs=0.05)
    assert float(found.subspace[0]) > 0.97


def test_a_turned_basis_changes_axes_and_no_subspace():
    x, document, draw = _stream()
    turn = torch.linalg.qr(torch.randn(16, 16, generator=draw, dtype=torch.float64))[0]
    plain, turned = (decodability(one, x[:, [3, 5]], document) for one in (x, x @ turn))
    torch.testing.assert_close(plain.subspace, turned.subspace, atol=1e-6, rtol=0)
    assert float(plain.axes[0].mean() - turned.axes[0].mean()) > 0.3


def test_a_shuffled_feature_is_not_read():
    x, document, draw = _stream()
    z = x[torch.randperm(len(x), generator=draw)][:, [0]]
    found = decodability(x, z, document)
    assert float(found.axes.max()) < 0.02
    assert found.subspace_interval[0][0] < 0.02


def test_too_little_is_refused_with_all_reasons():
    x, _, _ = _stream(width=4)
    with pytest.raises(
        UserError, match=r"(?s)2 documents; wanted at least 4.*8 dimensions of a stream of 4"
    ):
        decodability(x, x[:, [0]], torch.arange(len(x)) % 2)


@pytest.mark.parametrize("noise", [0.0, 0.5, 2.0])
def test_interference_is_noise_over_signal_squared(noise):
    draw = torch.Generator().manual_seed(0)
    z = (torch.rand(50_000, 1, generator=draw) < 0.3).double()
    reading = 3 * z + noise * torch.randn(50_000, 1, generator=draw)
    assert float(interference(reading, z)) == pytest.approx(noise**2 / 9, rel=0.05, abs=1e-12)
    assert math.isnan(float(interference(reading, torch.zeros_like(z))))


def test_an_own_axis_is_read_by_one_column():
    reader = torch.ones(7, 5)
    u = torch.eye(5)[[2]]
    strength, number = reading_weights(reader, 3 * u)
    assert float(strength) == pytest.approx(math.sqrt(7))
    assert float(number) == pytest.approx(7)
    strength, number = reading_weights(reader, torch.ones(1, 5))
    assert float(strength) == pytest.approx(math.sqrt(35))
    assert float(number) == pytest.approx(35)


def test_a_level_is_reached_between_readings():
    curve = [(0.0, 4.0), (100.0, 5.0), (200.0, 3.0), (300.0, 2.0)]
    assert reach(curve, 6.0) == 0.0
    assert reach(curve, 4.5) == pytest.approx(125)  # it was below it before it went up
    assert reach(curve, 3.5) == pytest.approx(175)
    assert reach(curve, 2.0) == pytest.approx(300)
    assert reach(curve, 1.0) is None
