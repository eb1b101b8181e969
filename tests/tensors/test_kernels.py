"""Values and gradients against torch's own through dense matrices, in float64."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from monosemy.tensors import kernels, plain
from monosemy.tensors.codes import SparseCode
from monosemy.tensors.kernels import PreActivations
from monosemy.tensors.prefixes import Prefixes
from monosemy.tensors.rows import RowGradient, gradient_of

NAMES = ("x", "W_enc", "b_enc", "shift", "W_dec", "b_dec", "target")


def _problem(tokens, width, latents, density, seed, dtype=torch.float64):
    draw = torch.Generator().manual_seed(seed)
    mask = torch.rand(tokens, latents, generator=draw) < density
    shapes = {"token": tokens, "latent": latents}
    rows = {"x": "token", "target": "token", "W_enc": "latent", "W_dec": "latent"}
    leaves = {}
    for name in NAMES:
        ends = (shapes[rows[name]],) if name in rows else ()
        shape = (latents,) if name == "b_enc" else (*ends, width)
        leaves[name] = torch.randn(shape, generator=draw, dtype=dtype)
    target = leaves.pop("target")
    return mask, {name: nn.Parameter(leaf) for name, leaf in leaves.items()}, target


def _pre(p):
    return plain.pre_activations(p["x"] - p["shift"], p["W_enc"], p["b_enc"])


def _code(mask, p):
    support = SparseCode.from_mask(mask, _pre(p).detach())
    return kernels.differentiable_values(support, p["x"], p["W_enc"], p["b_enc"], p["shift"])


def _decoded(mask, p, target):
    return kernels.decode(_code(mask, p), p["W_dec"], p["b_dec"])


def _decoded_densely(mask, p, target):
    return (_pre(p) * mask) @ p["W_dec"] + p["b_dec"]


def _error(mask, p, target):
    error, rest = kernels.squared_error(_code(mask, p), p["W_dec"], p["b_dec"], target)
    assert not rest.requires_grad
    torch.testing.assert_close(rest, target - _decoded_densely(mask, p, target).detach())
    return error


def _error_densely(mask, p, target):
    return (target - _decoded_densely(mask, p, target)).square().sum(1)


PROGRAMS = {"decode": (_decoded, _decoded_densely), "squared_error": (_error, _error_densely)}


def _learn(function, mask, p, target, rows=()):
    """Values, and the gradients of a weighted sum; matrices named in `rows` carry row gradients."""
    for name in rows:
        RowGradient.attach(p[name]).values.fill_(torch.nan)
    out = function(mask, p, target)
    weights = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)
    (out * weights).sum().backward()
    grads = {name: gradient_of(p[name]) for name in rows}
    assert all(p[name].grad is None for name in rows)
    return out, {n: grads[n].dense() if n in rows else leaf.grad for n, leaf in p.items()}


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("rows", [(), ("W_enc", "W_dec")], ids=["grad", "row gradient"])
@settings(max_examples=40, deadline=None)
@given(
    tokens=st.sampled_from([1, 2, 7, 65, 200]), width=st.integers(1, 6),
    latents=st.sampled_from([1, 2, 9, 65, 130]), density=st.sampled_from([0.0, 0.05, 0.3, 1.0]),
    seed=st.integers(0, 10_000),
)  # fmt: skip
def test_values_and_gradients_equal_those_through_dense_matrices(
    program, rows, tokens, width, latents, density, seed
):
    problem = (tokens, width, latents, density, seed)
    ours, densely = PROGRAMS[program]
    found, found_grads = _learn(ours, *_problem(*problem), rows)
    wanted, wanted_grads = _learn(densely, *_problem(*problem))
    torch.testing.assert_close(found, wanted)
    for name, grad in wanted_grads.items():
        wrong = lambda text, name=name: f"{name}: {text}"  # noqa: E731
        torch.testing.assert_close(found_grads[name], grad, msg=wrong)


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_comparison_can_fail(program):
    ours, densely = PROGRAMS[program]
    mask, p, target = _problem(5, 4, 6, 0.5, 0)
    assert (ours(mask, p, target) - densely(~mask, p, target)).abs().max() > 0.1


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("density", [0.05, 0.6])
def test_gradients_equal_finite_differences(program, density):
    mask, p, target = _problem(4, 3, 40, density, 1)
    assert mask.any()

    def function(*values):
        leaves = dict(zip(p, values, strict=True))
        code = _code(mask, leaves)
        # `differentiable_values` hands given values on; here they are to follow their inputs.
        moved = code.with_values(_pre(leaves)[code.rows, code.indices])
        if program == "decode":
            return kernels.decode(moved, leaves["W_dec"], leaves["b_dec"])
        return kernels.squared_error(moved, leaves["W_dec"], leaves["b_dec"], target)[0]

    # An output that nobody uses asks for no gradients at all.
    assert torch.autograd.gradcheck(function, tuple(p.values()), check_undefined_grad=False)


def test_an_input_that_asks_for_no_gradient_costs_none():
    mask, p, target = _problem(5, 4, 6, 0.5, 1)
    x = p["x"].detach()
    _decoded(mask, p | {"x": x}, target).sum().backward()
    assert x.grad is None
    assert p["W_enc"].grad is not None


def test_what_is_shifted_already_need_not_be_shifted_again():
    mask, p, _ = _problem(30, 4, 20, 0.2, 1)
    support = SparseCode.from_mask(mask, _pre(p).detach())
    encoder = p["x"], p["W_enc"], p["b_enc"], p["shift"]
    for shifted in (None, (p["x"] - p["shift"]).detach()):
        kernels.differentiable_values(support, *encoder, shifted).values.sum().backward()
    once = _problem(30, 4, 20, 0.2, 1)[1]
    encoder = once["x"], once["W_enc"], once["b_enc"], once["shift"]
    (2 * kernels.differentiable_values(support, *encoder).values.sum()).backward()
    for name in ("x", "W_enc", "b_enc", "shift"):
        torch.testing.assert_close(p[name].grad, once[name].grad)


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("rows", [(), ("W_enc", "W_dec")], ids=["grad", "row gradient"])
@pytest.mark.parametrize("density", [0.05, 0.5])
def test_gradients_repeat_exactly(program, rows, density):
    problem = (300, 32, 64, density, 2, torch.float32)
    first, second = (_learn(PROGRAMS[program][0], *_problem(*problem), rows)[1] for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_dtype_is_kept(program, dtype):
    out, grads = _learn(PROGRAMS[program][0], *_problem(4, 3, 5, 0.5, 3, dtype))
    assert {out.dtype, *(grad.dtype for grad in grads.values())} == {dtype}


def test_row_gradients_add_up_until_they_are_spent():
    mask, p, target = _problem(30, 4, 20, 0.2, 4)
    _learn(_decoded, mask, p, target, ("W_dec",))
    into, once = gradient_of(p["W_dec"]), gradient_of(p["W_dec"]).dense().clone()
    out = _decoded(mask, p, target)
    (out * torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)).sum().backward()
    torch.testing.assert_close(into.dense(), 2 * once)
    assert torch.equal(into.touched, mask.any(0))


# --- rows taken out -------------------------------------------------------------------------------


@pytest.mark.parametrize("attached", [False, True])
@pytest.mark.parametrize("before", [False, True])
def test_rows_taken_out_give_their_gradients_back(attached, before):
    draw = torch.Generator().manual_seed(0)
    ours, twin = (nn.Parameter(torch.randn(9, 4, generator=draw).double()) for _ in range(2))
    with torch.no_grad():
        twin.copy_(ours)
    if attached:
        RowGradient.attach(ours).values.fill_(torch.nan)
    chosen, weights = torch.tensor([7, 1, 4]), torch.randn(3, 4, generator=draw).double()
    for _ in range(1 + before):
        taken = kernels.take_rows(ours, chosen)
        assert torch.equal(taken, ours[chosen])
        (taken * weights).square().sum().backward()
        (twin[chosen] * weights).square().sum().backward()
    found = gradient_of(ours).dense() if attached else ours.grad
    torch.testing.assert_close(found, twin.grad)
    if attached:
        assert ours.grad is None
        assert gradient_of(ours).touched.nonzero().flatten().tolist() == [1, 4, 7]


def test_rows_taken_out_add_to_what_the_kernels_left_there():
    mask, p, target = _problem(30, 4, 20, 0.1, 4)
    chosen = torch.tensor([0, 3, 11])
    into = RowGradient.attach(p["W_dec"])
    (_decoded(mask, p, target).sum() + kernels.take_rows(p["W_dec"], chosen).sum()).backward()
    twin = _problem(30, 4, 20, 0.1, 4)[1]
    (_decoded_densely(mask, twin, target).sum() + twin["W_dec"][chosen].sum()).backward()
    torch.testing.assert_close(into.dense(), twin["W_dec"].grad)


# --- pre-activations as a question ----------------------------------------------------------------


@pytest.mark.parametrize("propose", [False, True])
def test_pre_activations_answer_as_the_plain_twin_does(propose):
    draw = torch.Generator().manual_seed(0)
    parts = [
        torch.randint(-3, 4, shape, generator=draw).float() for shape in ((90, 6), (70, 6), (70,))
    ]
    asked = PreActivations(*parts, propose)
    floor = torch.linspace(-2, 9, 70)
    answers = [
        (asked.largest(5), plain.keep_largest(*parts, 5)),
        (asked.above(floor), plain.keep_above(*parts, floor)),
        (asked.batch_largest(99), plain.keep_batch(*parts, 99)),
        (asked.batch_largest(99, 5.0), plain.keep_batch(*parts, 99)),
    ]
    for found, wanted in answers:
        assert torch.equal(found.dense(), wanted.dense())
        assert torch.equal(found.indices, wanted.indices)
    assert torch.equal(asked.full(), plain.pre_activations(*parts))


# --- nested prefixes ------------------------------------------------------------------------------


def decoded_alone(code, W, b, ends, detached, places):
    """Each prefix decoded by itself, as `Prefixes` says what it teaches."""
    back, given = [], b
    for part, end in enumerate(ends):
        first = ends[part - 1] if part else 0
        whole = part == len(ends) - 1
        if detached and part and not whole:
            new = (places >= first) & (places < end)
            given = back[-1].detach() + code[:, new] @ W[new]
            back.append(given)
        else:
            back.append(code[:, places < end] @ W[places < end] + b)
    return back


@pytest.mark.parametrize("detached", [False, True])
@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("ends", [[16], [3, 16], [1, 2, 9, 16]])
def test_every_prefix_and_every_gradient_is_that_of_its_own_decoding(ends, ordered, detached):
    draw = torch.Generator().manual_seed(0)

    def numbers(*shape):
        return torch.randn(*shape, generator=draw, dtype=torch.float64)

    target, W, b = numbers(20, 7), numbers(16, 7), numbers(7)
    full = numbers(20, 16) * (torch.rand(20, 16, generator=draw) < 0.3)
    full[4] = 0
    weights = torch.rand(20, len(ends), generator=draw).double()
    places = torch.randperm(16, generator=draw) if ordered else None
    ours, twin = ([t.clone().requires_grad_() for t in (full, W, b)] for _ in range(2))
    code = SparseCode.from_mask(full != 0, ours[0])
    prefixes = Prefixes(torch.tensor(ends), detached, places)
    errors, rest = kernels.nested_squared_error(code, ours[1], ours[2], target, prefixes)
    (errors * weights).sum().backward()
    places = torch.arange(16) if places is None else places
    back = decoded_alone(*twin, ends, detached, places)
    expected = torch.stack([(target - one).square().sum(1) for one in back], dim=1)
    (expected * weights).sum().backward()
    torch.testing.assert_close(errors, expected)
    torch.testing.assert_close(rest, (target - back[-1]).detach())
    for one, other, name in zip(ours, twin, ("values", "W_dec", "b_dec"), strict=True):
        grad = other.grad * (full != 0) if name == "values" else other.grad
        torch.testing.assert_close(one.grad, grad, msg=name)


def test_two_nested_errors_do_not_share_what_they_keep():
    draw = torch.Generator().manual_seed(1)
    W, none = torch.randn(6, 4, generator=draw), torch.zeros(4)
    targets = torch.randn(2, 9, 4, generator=draw)
    values = torch.rand(9, 6, generator=draw)
    ends = Prefixes(torch.tensor([2, 6]))

    def gradient(which):
        rows = W.clone().requires_grad_()
        code = SparseCode.from_dense(values)
        errors = [kernels.nested_squared_error(code, rows, none, targets[i], ends) for i in which]
        sum(error.sum() for error, _ in errors).backward()
        return rows.grad

    torch.testing.assert_close(gradient([0, 1]), gradient([0]) + gradient([1]))
