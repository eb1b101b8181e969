import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from monosemy.tensors import kernels, plain
from monosemy.tensors.codes import SparseCode


def _problem(tokens, width, latents, density, seed, dtype=torch.float64):
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=draw, dtype=dtype)

    mask = torch.rand(tokens, latents, generator=draw) < density
    leaves = {
        "x": normal(tokens, width),
        "W_enc": normal(latents, width),
        "b_enc": normal(latents),
        "shift": normal(width),
        "W_dec": normal(latents, width),
        "b_dec": normal(width),
    }
    return mask, {name: leaf.requires_grad_() for name, leaf in leaves.items()}


def _dense(mask, p):
    full = plain.pre_activations(p["x"], p["W_enc"], p["b_enc"], p["shift"]) * mask
    return plain.decode(full, p["W_dec"], p["b_dec"])


def _sparse(mask, p):
    pre = plain.pre_activations(p["x"], p["W_enc"], p["b_enc"], p["shift"]).detach()
    support = SparseCode.from_mask(mask, pre)
    code = kernels.differentiable_values(support, p["x"], p["W_enc"], p["b_enc"], p["shift"])
    return kernels.decode(code, p["W_dec"], p["b_dec"])


def _gradients(function, mask, p):
    out = function(mask, p)
    weights = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)
    return out, torch.autograd.grad((out * weights).sum(), list(p.values()), allow_unused=True)


@settings(max_examples=40, deadline=None)
@given(
    tokens=st.integers(1, 7),
    width=st.integers(1, 6),
    latents=st.integers(1, 9),
    density=st.sampled_from([0.0, 0.2, 1.0]),
    seed=st.integers(0, 10_000),
)
def test_values_and_gradients_equal_the_plain_twin(tokens, width, latents, density, seed):
    mask, p = _problem(tokens, width, latents, density, seed)
    ours, ours_gradients = _gradients(_sparse, mask, p)
    theirs, their_gradients = _gradients(_dense, mask, p)
    torch.testing.assert_close(ours, theirs)
    for name, one, other in zip(p, ours_gradients, their_gradients, strict=True):
        torch.testing.assert_close(one, other, msg=lambda text, name=name: f"{name}: {text}")


def test_the_comparison_can_fail():
    mask, p = _problem(5, 4, 6, 0.5, 0)
    ours, _ = _gradients(_sparse, mask, p)
    theirs, _ = _gradients(_dense, ~mask, p)
    assert (ours - theirs).abs().max() > 0.1


def test_an_input_that_asks_for_no_gradient_costs_none():
    mask, p = _problem(5, 4, 6, 0.5, 1)
    x = p["x"].detach()
    out = _sparse(mask, p | {"x": x})
    out.sum().backward()
    assert x.grad is None
    assert p["W_enc"].grad is not None


def test_gradients_repeat_exactly():
    mask, p = _problem(300, 32, 64, 0.2, 2, torch.float32)
    first = _gradients(_sparse, mask, p)[1]
    second = _gradients(_sparse, mask, p)[1]
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_dtype_is_kept(dtype):
    mask, p = _problem(4, 3, 5, 0.5, 3, dtype)
    assert _sparse(mask, p).dtype == dtype
