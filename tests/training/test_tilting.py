import math

import pytest
import torch

from monosemy.training.tilting import tilted_mean

LOSSES = torch.tensor([1.0, 2.0, 9.0], dtype=torch.float64)


def test_without_a_tilt_it_is_the_mean():
    assert float(tilted_mean(LOSSES, 0.0)) == 4


def test_it_is_the_formula_with_the_mean_as_its_unit():
    by_hand = 4 / 0.5 * math.log((math.exp(0.125) + math.exp(0.25) + math.exp(1.125)) / 3)
    assert float(tilted_mean(LOSSES, 0.5)) == pytest.approx(by_hand, rel=1e-12)


def test_the_gradient_weighs_tokens_by_a_softmax_of_their_losses():
    losses = LOSSES.clone().requires_grad_()
    tilted_mean(losses, 2.0).backward()
    torch.testing.assert_close(losses.grad, (LOSSES / 4 * 2).softmax(0))
    # Negative control: it is no plain mean.
    assert float(losses.grad[2]) > 0.9


def test_a_change_of_units_changes_no_weight():
    def weights(factor):
        losses = (LOSSES * factor).requires_grad_()
        tilted_mean(losses, 2.0).backward()
        return losses.grad

    torch.testing.assert_close(weights(1e6), weights(1.0))


def test_a_small_tilt_comes_near_the_mean():
    assert float(tilted_mean(LOSSES, 1e-9)) == pytest.approx(4, rel=1e-6)


def test_each_prefix_is_tilted_by_itself():
    both = torch.stack([LOSSES, 5 * LOSSES.flip(0)], 1)
    torch.testing.assert_close(tilted_mean(both, 0.7)[1], tilted_mean(5 * LOSSES, 0.7))


def test_losses_of_zero_stay_zero_with_a_finite_gradient():
    losses = torch.zeros(3, requires_grad=True)
    value = tilted_mean(losses, 1.0)
    value.backward()
    assert value.item() == 0
    torch.testing.assert_close(losses.grad, torch.full((3,), 1 / 3))
