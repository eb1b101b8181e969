"""One step of AdamW in one pass, against torch's own in steps one can see."""

import pytest
import torch
from torch import nn

from monosemy.tensors import compiled, plain
from monosemy.tensors.rows import AdamSettings, RowGradient

BACKENDS = {"compiled": compiled, "plain": plain}
TYPES = [torch.float32, torch.float64]
LATENTS, WIDTH, STEPS = 200, 17, 12


def _gradients(dtype):
    """A gradient a step; some rows have one only now and then, some never."""
    draw = torch.Generator().manual_seed(1)
    for step in range(STEPS):
        touched = torch.rand(LATENTS, generator=draw) < 0.5
        touched[::7], touched[3::7] = step % 5 == 0, False
        yield torch.randn(LATENTS, WIDTH, generator=draw).to(dtype), touched


def _start(dtype):
    draw = torch.Generator().manual_seed(0)
    return nn.functional.normalize(torch.randn(LATENTS, WIDTH, generator=draw).to(dtype))


def _settings(begun, **changes):
    rate = 0.01 * (1 + begun % 3)
    ordinary = {"rate": rate, "betas": (0.9, 0.99), "eps": 1e-8, "decay": 0.0, "step": begun + 1}
    return AdamSettings(**ordinary | changes)


def _in_one_pass(side, dtype, unit, seen=None, **changes):
    rows = _start(dtype)
    mean, variance = torch.zeros_like(rows), torch.zeros_like(rows)
    gradient = RowGradient.of(rows, unit)
    for step, (values, touched) in enumerate(_gradients(dtype)):
        gradient.values.copy_(values)
        gradient.values[~touched] = torch.nan  # means nothing
        gradient.touched.copy_(touched)
        side.update_rows(rows, gradient, mean, variance, _settings(step, **changes), seen)
        assert not gradient.touched.any(), "it is spent"
    return rows, mean, variance


def _in_steps(dtype, unit, decay=0.0, scale=1.0):
    rows = nn.Parameter(_start(dtype))
    adam = torch.optim.AdamW([rows], betas=(0.9, 0.99), weight_decay=decay)
    for step, (values, touched) in enumerate(_gradients(dtype)):
        grad = values * touched[:, None]
        if unit:
            grad = grad - (grad * rows.detach()).sum(1, keepdim=True) * rows.detach()
        rows.grad = grad * scale
        adam.param_groups[0]["lr"] = _settings(step).rate
        adam.step()
        if unit:
            with torch.no_grad():
                rows.div_(rows.norm(dim=1, keepdim=True))
    state = adam.state[rows]
    return rows.detach(), state["exp_avg"], state["exp_avg_sq"]


CHANGES = {"plain": {}, "decay": {"decay": 0.3}, "clipped": {"scale": 0.125},
           "both": {"decay": 0.3, "scale": 0.125}}  # fmt: skip


@pytest.mark.parametrize("side", BACKENDS)
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("unit", [False, True])
@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES)
def test_it_is_adamw_row_by_row(side, dtype, unit, changes):
    ours = _in_one_pass(BACKENDS[side], dtype, unit, **changes)
    theirs = _in_steps(dtype, unit, **changes)
    exact = (
        {"rtol": 1e-4, "atol": 2e-6} if dtype == torch.float32 else {"rtol": 1e-9, "atol": 1e-12}
    )
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, **exact)
    if unit:
        torch.testing.assert_close(ours[0].norm(dim=1), torch.ones(LATENTS, dtype=dtype))


@pytest.mark.parametrize("side", BACKENDS)
def test_every_setting_has_an_effect(side):
    usual = _in_one_pass(BACKENDS[side], torch.float64, False)[0]
    changed = {
        "rate": 0.5,
        "betas": (0.5, 0.5),
        "eps": 0.1,
        "decay": 0.1,
        "step": 1000,
        "scale": 0.1,
    }
    assert set(changed) == set(AdamSettings.__dataclass_fields__)
    for name, value in changed.items():
        other = _in_one_pass(BACKENDS[side], torch.float64, False, **{name: value})[0]
        assert (other - usual).abs().max() > 1e-6, name


@pytest.mark.parametrize("side", BACKENDS)
@pytest.mark.parametrize("unit", [False, True])
def test_rows_never_touched_stay_where_they_are_without_decay(side, unit):
    rows, mean, variance = _in_one_pass(BACKENDS[side], torch.float64, unit)
    never = torch.arange(LATENTS)[3::7]
    torch.testing.assert_close(rows[never], _start(torch.float64)[never], rtol=1e-14, atol=0)
    assert not mean[never].any()
    assert not variance[never].any()


def _nobody():
    return torch.zeros(LATENTS, dtype=torch.int64)


@pytest.mark.parametrize("side", BACKENDS)
@pytest.mark.parametrize("dtype", TYPES)
def test_moments_of_rows_that_return_are_what_they_would_have_been(side, dtype):
    seen = _nobody()
    _, mean, variance = _in_one_pass(BACKENDS[side], dtype, False, seen)
    _, every_mean, every_variance = _in_steps(dtype, False)
    # Between two gradients the moments only decay, so those of silent rows are behind by that.
    gone = (STEPS - seen)[:, None].to(dtype)
    exact = (
        {"rtol": 1e-4, "atol": 1e-7} if dtype == torch.float32 else {"rtol": 1e-9, "atol": 1e-12}
    )
    torch.testing.assert_close(mean * 0.9**gone, every_mean, **exact)
    torch.testing.assert_close(variance * 0.99**gone, every_variance, **exact)
    assert len(gone.unique()) > 3


@pytest.mark.parametrize("side", BACKENDS)
@pytest.mark.parametrize("unit", [False, True])
def test_without_momentum_and_decay_leaving_silent_rows_alone_is_exact(side, unit):
    still = {"betas": (0.0, 0.99)}
    every = _in_one_pass(BACKENDS[side], torch.float64, unit, **still)[0]
    active = _in_one_pass(BACKENDS[side], torch.float64, unit, _nobody(), **still)[0]
    torch.testing.assert_close(active, every, rtol=1e-12, atol=1e-14)
    usual = (_in_one_pass(BACKENDS[side], torch.float64, unit, s)[0] for s in (None, _nobody()))
    assert next(usual).sub_(next(usual)).abs().max() > 1e-3, "with momentum it is not"


@pytest.mark.parametrize("side", BACKENDS)
def test_silent_rows_are_left_alone_to_the_last_bit(side):
    draw = torch.Generator().manual_seed(0)
    rows, mean, variance = (torch.rand(LATENTS, WIDTH, generator=draw) for _ in range(3))
    before = [part.clone() for part in (rows, mean, variance)]
    gradient, seen = RowGradient.of(rows, unit=True), _nobody()
    gradient.values.fill_(1.0)
    touched = torch.arange(LATENTS) % 3 == 0
    gradient.touched.copy_(touched)
    BACKENDS[side].update_rows(rows, gradient, mean, variance, _settings(4, decay=0.5), seen)
    for part, old in zip((rows, mean, variance), before, strict=True):
        assert torch.equal(part[~touched], old[~touched])
        assert (part[touched] != old[touched]).any(1).all()
    assert torch.equal(seen, 5 * touched)


def test_threads_change_no_bit():
    shared = _in_one_pass(compiled, torch.float32, True, decay=0.1)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        alone = _in_one_pass(compiled, torch.float32, True, decay=0.1)
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(shared, alone, strict=True))


def test_a_row_of_length_zero_is_no_division_by_zero():
    for side in BACKENDS.values():
        rows = torch.zeros(3, 4)
        gradient = RowGradient.of(rows, unit=True)
        side.update_rows(rows, gradient, torch.zeros(3, 4), torch.zeros(3, 4), _settings(0))
        assert torch.equal(rows, torch.zeros(3, 4))


def test_numbers_may_be_tensors():
    plainly = _in_one_pass(compiled, torch.float64, True, scale=0.5)
    scaled = _in_one_pass(compiled, torch.float64, True, scale=torch.tensor(0.5).double())
    assert all(torch.equal(a, b) for a, b in zip(plainly, scaled, strict=True))
