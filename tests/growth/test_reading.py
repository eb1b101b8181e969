"""Own neurons learn to read: planted neurons are found, noise is not, and what is refused."""

import pytest
import torch

from monosemy.foundation.errors import UserError
from monosemy.growth.reading import Kind, Rows, fit_reading, read_values
from monosemy.tensors.compute import Compute

RELU = Kind(torch.relu, gated=False, biased=True)
GATED = Kind(torch.nn.functional.silu, gated=True, biased=False)


def _rows(tokens=4000, width=8, neurons=6, features=3):
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(tokens, width, generator=draw)
    a = torch.randn(tokens, neurons, generator=draw).relu()
    w = torch.randn(features, width, generator=draw)
    return x, a, w, draw


def test_a_planted_neuron_is_read():
    x, a, w, _ = _rows()
    z = 3 * (x @ w.T - 1).relu()
    found = fit_reading(Rows(x, a, z), RELU, 1, False, Compute())
    assert found.fit.min() > 0.98
    y = read_values(found, Rows(x, a, z), RELU)
    assert float((y - z).square().mean() / z.var()) < 0.02
    assert not found.crowd.any()


def test_what_the_crowd_holds_is_read_from_it():
    x, a, _, draw = _rows()
    z = a @ torch.randn(6, 3, generator=draw)
    found = fit_reading(Rows(x, a, z), RELU, 1, True, Compute())
    assert found.fit.min() > 0.98
    alone = fit_reading(Rows(x, a, z), RELU, 1, False, Compute())
    assert alone.fit.max() < 0.1  # x knows nothing of it


def test_a_gated_neuron_learns_too():
    x, a, w, draw = _rows()
    v = torch.randn(3, 8, generator=draw)
    z = torch.nn.functional.silu(x @ w.T) * (x @ v.T)
    found = fit_reading(Rows(x, a, z), GATED, 2, False, Compute(), steps=1500)
    assert found.fit.min() > 0.8
    assert found.bias is None


def test_noise_is_not_read():
    x, a, _, draw = _rows()
    z = torch.randn(len(x), 3, generator=draw)
    assert fit_reading(Rows(x, a, z), RELU, 1, False, Compute()).fit.max() < 0.1


def test_the_same_seed_reads_the_same():
    x, a, w, _ = _rows()
    rows = Rows(x, a, (x @ w.T).relu())
    one, two, other = (
        fit_reading(rows, RELU, 1, False, Compute(seed=s), steps=20) for s in (1, 1, 2)
    )
    assert torch.equal(one.up, two.up)
    assert not torch.equal(one.up, other.up)


def test_all_reasons_come_at_once():
    x, a, w, _ = _rows(tokens=20)
    z = torch.zeros(20, 3)
    with pytest.raises(
        UserError, match=r"(?s)0 neurons a feature.*20 tokens.*number 0 and 2 more never"
    ):
        fit_reading(Rows(x, a, z), RELU, 0, False, Compute())
