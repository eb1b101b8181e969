"""Neurons of one meaning and of many, and the asymmetric motif."""

from __future__ import annotations

import pytest
import torch

from monosemy.foundation.errors import UserError
from monosemy.superposition.neurons import (
    asymmetric,
    features_per_neuron,
    monosemantic_share,
    purity,
)


def test_a_neuron_of_k_features_alike():
    weights = torch.zeros(4, 8)
    for row, count in enumerate((1, 2, 4, 8)):
        weights[row, :count] = -0.7
    assert features_per_neuron(weights).tolist() == pytest.approx([1, 2, 4, 8])
    assert purity(weights).tolist() == pytest.approx([1, 1 / 2, 1 / 4, 1 / 8])
    assert monosemantic_share(weights) == 0.25


def test_silent_neurons_do_not_count():
    weights = torch.tensor([[1.0, 0.0], [0.0, 0.0], [1.0, 1.0]])
    assert monosemantic_share(weights) == 0.5
    with pytest.raises(UserError, match="no neuron is in use"):
        monosemantic_share(torch.zeros(2, 3))


def test_the_asymmetric_motif_is_found_and_others_are_not():
    read = torch.tensor([[2.0, -0.5, 0], [1, 1, 0], [1, 0, 0], [2, 0.5, 0]])
    write = torch.tensor([[0.5, 2.0, 0], [1, 1, 0], [1, 0, 0], [2, 0.5, 0]])
    assert asymmetric(read, write).tolist() == [True, False, False, False]
    assert asymmetric(write, read).tolist() == [True, False, False, False]
