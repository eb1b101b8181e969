"""DCI and MIG: axes are found, turned and shuffled codes are not."""

from __future__ import annotations

import math

import pytest
import torch

from monosemy.foundation.errors import UserError
from monosemy.superposition.disentanglement import (
    disentangled,
    disentanglement,
    information_gap,
)
from monosemy.tensors.compute import Compute


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def samples():
    labels = torch.randint(0, 4, (800, 2), generator=draw())
    x = torch.cat([labels.float(), torch.zeros(800, 2)], 1) + 0.1 * torch.randn(
        800, 4, generator=draw(1)
    )
    return x, labels, torch.arange(800) % 2 == 0


def test_importances_by_hand():
    assert disentanglement(torch.eye(3)) == pytest.approx(1)
    assert disentanglement(torch.ones(3, 3)) == pytest.approx(0)
    # One row for both variables, with half of all importance; one row for one.
    R = torch.tensor([[0.25, 0.25], [0.5, 0.0]])
    assert disentanglement(R) == pytest.approx(0.5)
    lean = torch.tensor([[0.75, 0.25]])
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25)) / math.log(2)
    assert disentanglement(lean) == pytest.approx(1 - entropy)


def test_variables_on_axes_are_found(samples):
    found = disentangled(*samples, Compute())
    assert found.disentanglement > 0.9
    assert found.completeness > 0.9
    assert found.gap > 0.9
    assert found.informativeness > 0.95 > 0.4 > found.chance
    assert found == disentangled(*samples, Compute())


def test_a_turn_by_45_degrees_takes_the_axes_away(samples):
    x, labels, half = samples
    turn = torch.eye(4)
    turn[:2, :2] = torch.tensor([[1.0, -1], [1, 1]]) / 2**0.5
    found = disentangled(x @ turn, labels, half, Compute())
    assert found.disentanglement < 0.3
    assert found.gap < 0.1
    assert found.informativeness > 0.9


def test_shuffled_labels_have_none(samples):
    x, labels, half = samples
    found = disentangled(x, labels[torch.randperm(800, generator=draw())], half, Compute())
    assert found.gap < 0.02
    assert found.disentanglement < 0.2
    assert abs(found.informativeness - found.chance) < 0.07


def test_a_second_copy_of_an_axis_closes_the_gap(samples):
    x, labels, _ = samples
    assert information_gap(x, labels) > 0.9
    assert information_gap(torch.cat([x, x], 1), labels) < 1e-9


def test_a_variable_with_one_value_is_refused(samples):
    x, labels, half = samples
    with pytest.raises(UserError, match="variable 1 has one value"):
        disentangled(x, labels * torch.tensor([1, 0]), half, Compute())
