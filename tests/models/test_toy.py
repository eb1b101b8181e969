"""Toy models: values by hand, and instances that know nothing of each other."""

from __future__ import annotations

import pytest
import torch

from monosemy.foundation.errors import UserError
from monosemy.models.toy import AbsoluteToy, TiedToy


def draw() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_an_antipodal_pair_by_hand():
    toy = TiedToy(1, 2, 1, draw())
    toy.load_state_dict({"W": torch.tensor([[[1.0, -1.0]]]), "b": torch.tensor([[0.0, 0.5]])})
    x = torch.tensor([[[1.0, 0.0], [0.25, 0.75]]])
    # h = 1 and -0.5; Wᵀh + b = (1, -0.5) and (-0.5, 1)
    assert toy(x).tolist() == [[[1.0, 0.0], [0.0, 1.0]]]
    linear = TiedToy(1, 2, 1, draw(), output="linear")
    linear.load_state_dict(toy.state_dict())
    assert linear(x).tolist() == [[[1.0, -0.5], [-0.5, 1.0]]]


def test_neurons_cannot_be_negative():
    toy = TiedToy(1, 2, 1, draw(), output="linear", middle="relu")
    toy.load_state_dict({"W": torch.tensor([[[1.0, -1.0]]]), "b": torch.zeros(1, 2)})
    assert toy(torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])).tolist() == [[[1.0, -1.0], [0.0, 0.0]]]


def test_two_neurons_make_an_absolute_value():
    toy = AbsoluteToy(1, 1, 2, draw())
    pair = torch.tensor([[[1.0], [-1.0]]])
    toy.load_state_dict({"W_in": pair, "W_out": pair.abs(), "b": torch.zeros(1, 1)})
    x = torch.tensor([[[-0.5], [0.75]]])
    assert torch.equal(toy(x), toy.target(x))
    assert toy.target(x).tolist() == [[[0.5], [0.75]]]


@pytest.mark.parametrize("make", [TiedToy, AbsoluteToy])
def test_instances_know_nothing_of_each_other(make):
    toy = make(3, 4, 2, draw())
    x = torch.rand(3, 5, 4, generator=draw())
    alone = make(1, 4, 2, draw())
    alone.load_state_dict({name: value[1:2] for name, value in toy.state_dict().items()})
    assert torch.allclose(toy(x)[1:2], alone(x[1:2]), atol=1e-6)
    toy(x)[1].sum().backward()
    for parameter in toy.parameters():
        assert parameter.grad is not None
        assert not parameter.grad[[0, 2]].any()


def test_what_cannot_be_is_refused_with_all_reasons():
    with pytest.raises(UserError, match="instances = 0") as refused:
        TiedToy(0, 0, 1, draw())
    assert "features = 0; wanted at least 1" in str(refused.value)
    with pytest.raises(
        UserError, match="output = 'relo'; known: relu, linear; did you mean 'relu'"
    ):
        TiedToy(1, 2, 1, draw(), output="relo")
