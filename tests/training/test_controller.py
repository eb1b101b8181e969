"""The controller against plants that can be written down."""

import math

import pytest
import torch

from monosemy.training import controller
from monosemy.training.controller import Controller

STEPS = 800


def follow(control, lag=0.1, weight=1.0, begun=1000.0, at_one=100.0, slope=0.7):
    """L0 follows the penalty late: log L0 drifts to ``log(at_one) - slope · log(weight)``."""
    log, seen = math.log(begun), []
    noise = torch.Generator().manual_seed(0)
    for _ in range(STEPS):
        batch = math.exp(log + 0.03 * float(torch.randn((), generator=noise)))
        control.see(torch.tensor(batch))
        factor = weight * float(control.factor)
        log += (math.log(at_one) - slope * math.log(factor) - log) / (lag * STEPS)
        seen.append(math.exp(log))
    return seen


@pytest.mark.parametrize("target", [4.0, 16.0, 64.0])
@pytest.mark.parametrize("weight", [0.02, 1.0, 30.0])
@pytest.mark.parametrize("lag", [0.02, 0.2])
def test_l0_lands_on_the_target_from_any_first_weight(target, weight, lag):
    seen = follow(Controller(target, STEPS), lag, weight)
    assert seen[-1] == pytest.approx(target, rel=0.05)
    assert min(seen[STEPS // 2 :]) > 0.7 * target, "it does not swing"


def test_without_its_sum_it_misses(monkeypatch):
    monkeypatch.setattr(controller, "_POSITIVE", (3.0, 0.0))
    assert follow(Controller(16.0, STEPS), weight=0.02)[-1] > 1.2 * 16


@pytest.mark.parametrize("target", [16.0, 64.0])
@pytest.mark.parametrize("begun", [30.0, 600.0])
def test_a_signed_one_brings_slow_thresholds_back_from_both_sides(target, begun):
    """Adam moves thresholds by the learning rate, whatever the penalty; L0 itself drifts down."""
    control, log = Controller(target, STEPS, signed=True), math.log(begun)
    factors = []
    for _ in range(STEPS):
        control.see(torch.tensor(math.exp(log)))
        factors.append(float(control.factor))
        log += 0.01 * max(-1.0, min(1.0, -factors[-1] / 5)) - 0.001
    assert math.exp(log) == pytest.approx(target, rel=0.05)
    assert min(factors) < 0 or begun > target


def test_a_positive_one_never_rewards():
    control = Controller(50.0, STEPS)
    for _ in range(STEPS):
        control.see(torch.tensor(0.0))
        assert 0 < float(control.factor) <= 1
    assert float(control.factor) < 1e-3


def test_nothing_is_steered_while_l0_falls_by_itself():
    control = Controller(10.0, 100)
    for step in range(1, 8):
        control.see(torch.tensor(1000.0 / step))
        assert (float(control.factor) == 1) == (step <= 5)


def test_the_reference_falls_from_what_was_found_to_the_target_at_half_of_the_run():
    """With L0 held still, the error is what the reference has fallen by."""
    control, errors = Controller(10.0, 1000), []
    for _ in range(1000):
        control.see(torch.tensor(20.0))
        errors.append(float(control._error))
    assert errors[49] == 0
    assert errors[274] == pytest.approx(math.log(2) / 2, rel=1e-3), "half way, geometrically"
    assert errors[499] == pytest.approx(math.log(2), rel=1e-4)
    assert errors[-1] == errors[499]


def test_a_resumed_one_goes_on_bit_for_bit():
    whole, first, second = (Controller(16.0, 100, signed=True) for _ in range(3))
    batches = (torch.rand(100, generator=torch.Generator().manual_seed(0)) + 16).unbind()
    for l0 in batches:
        whole.see(l0)
    for l0 in batches[:60]:
        first.see(l0)
    second.load_state_dict(first.state_dict())
    for l0 in batches[60:]:
        second.see(l0)
    assert torch.equal(whole.factor, second.factor)
    assert not torch.equal(first.factor, second.factor)
