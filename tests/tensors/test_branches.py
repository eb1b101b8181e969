"""Children of active latents: loops against the plain twin, least squares, gradients."""

import pytest
import torch

from monosemy.tensors import branches, plain_branches
from monosemy.tensors.branches import Charts, Explained
from monosemy.tensors.codes import SparseCode
from monosemy.tensors.compiled import branches as compiled

TOKENS, WIDTH, BEARERS, CHARTS, RANK, CHILDREN = 130, 24, 12, 4, 3, 5


def unit(*shape: int, seed: int) -> torch.Tensor:
    drawn = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.nn.functional.normalize(drawn, dim=-1)


def charts(seed: int = 0) -> Charts:
    V = torch.linalg.qr(unit(CHARTS, WIDTH, RANK, seed=seed))[0].transpose(1, 2).contiguous()
    routes = torch.arange(BEARERS) % CHARTS
    routes[-1] = -1
    return Charts(V, routes, unit(BEARERS, CHILDREN, RANK, seed=seed + 1))


def a_code(seed: int = 3, share: float = 0.3) -> SparseCode:
    draw = torch.Generator().manual_seed(seed)
    full = torch.rand(TOKENS, BEARERS, generator=draw, dtype=torch.float64) + 0.5
    return SparseCode.from_mask(torch.rand(TOKENS, BEARERS, generator=draw) < share, full)


def a_problem(dtype: torch.dtype = torch.float64):
    held, W_dec, code = charts(), unit(BEARERS, WIDTH, seed=7), a_code()
    x = unit(TOKENS, WIDTH, seed=9) * 2
    rest = x - code.dense() @ W_dec
    held = Charts(held.V.to(dtype), held.routes, held.C.to(dtype))
    return x, rest.to(dtype), code.with_values(code.values.to(dtype)), held, W_dec.to(dtype)


@pytest.mark.parametrize("refit", [True, False])
@pytest.mark.parametrize("rounds", [0, 1, 3])
def test_the_loops_do_what_the_plain_twin_does(refit: bool, rounds: int) -> None:
    _, rest, code, held, W_dec = a_problem()
    overlap = branches.overlaps(held, W_dec)
    parts = W_dec, held.V, held.routes, held.C, overlap, rounds, 0.4, 0.1, refit
    found = []
    for side in (compiled, plain_branches):
        left, values = rest.clone(), code.values.clone()
        which = side.explain(left, code.offsets, code.indices, values, *parts)
        found.append((left, values, *which))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)
    assert (found[0][2] >= 0).any()
    assert not refit or (found[0][1] == 0).any()  # something was dropped


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_left_over_is_what_was_not_written(dtype: torch.dtype) -> None:
    x, rest, code, held, W_dec = a_problem(dtype)
    got = branches.explain(rest, code, held, W_dec, 2, 0.3, 0.1)
    parents = code.with_values(got.values).dense() @ W_dec
    children = branches.written(rest, code.offsets, code.indices, got.children, got.amounts, held)
    torch.testing.assert_close(got.rest, x.to(dtype) - parents - children, atol=1e-5, rtol=1e-5)
    assert got.children[code.indices == BEARERS - 1].max() == -1  # it points at no chart


def test_one_latent_and_its_child_are_least_squares() -> None:
    _, _, _, held, W_dec = a_problem()
    x = unit(1, WIDTH, seed=21) + 3 * W_dec[:1] + 2 * held.directions(torch.tensor([0]))[0, 2]
    one = SparseCode(torch.tensor([0, 1]), torch.tensor([0]), torch.ones(1).double(), BEARERS)
    got = branches.explain(x - W_dec[:1], one, held, W_dec, 0, 0.0, 0.0)
    child = held.directions(torch.tensor([0]))[0, got.children[0]]
    best = torch.linalg.lstsq(torch.stack([W_dec[0], child], 1), x[0]).solution
    torch.testing.assert_close(torch.stack([got.values[0], got.amounts[0]]), best)


def test_every_round_leaves_less() -> None:
    _, rest, code, held, W_dec = a_problem()
    left = [
        branches.explain(rest, code, held, W_dec, rounds, 0.0, 0.0).rest.square().sum()
        for rounds in range(4)
    ]
    assert all(after <= before + 1e-12 for before, after in zip(left, left[1:], strict=False))
    assert left[1] < left[0]


def test_an_entry_is_dropped_where_its_absence_would_not_show() -> None:
    _, rest, code, held, W_dec = a_problem()
    strict, loose = (branches.explain(rest, code, held, W_dec, 1, f, 0.1) for f in (0.8, 0.0))
    assert (strict.values > 0).sum() < (loose.values > 0).sum()
    assert (strict.children[strict.values == 0] == -1).all()


def test_gradients_are_those_of_fixed_activations() -> None:
    x, rest, code, held, W_dec = a_problem()
    got = branches.explain(rest, code, held, W_dec, 1, 0.3, 0.1)
    b_dec = torch.zeros(WIDTH).double().requires_grad_()
    V, C, W = (tensor.clone().requires_grad_() for tensor in (held.V, held.C, W_dec))
    parents = code.with_values(got.values)
    per_token = torch.rand(TOKENS, generator=torch.Generator().manual_seed(1)).double()
    error = branches.squared_error(got, parents, [(code, got, Charts(V, held.routes, C))], W, b_dec)
    mine = torch.autograd.grad((error * per_token).sum(), (W, b_dec, V, C))
    has = got.children >= 0
    p = code.indices[has]
    wrote = (C[p, got.children[has]] * got.amounts[has][:, None])[:, None] @ V[held.routes[p]]
    children = torch.zeros_like(x).index_add(0, code.rows[has], wrote[:, 0])
    left = x - b_dec - parents.dense() @ W - children
    torch.testing.assert_close(left, got.rest)
    twin = torch.autograd.grad((left.square().sum(1) * per_token).sum(), (W, b_dec, V, C))
    for one, other in zip(mine, twin, strict=True):
        torch.testing.assert_close(one, other)


def test_gradients_of_the_plain_twin_are_the_same() -> None:
    x, rest, code, held, W_dec = a_problem()
    got: Explained = branches.explain(rest, code, held, W_dec, 1, 0.0, 0.1)
    has = got.children >= 0
    entries = code.rows[has], code.indices[has], got.children[has], got.amounts[has]
    for one, other in zip(
        compiled.child_gradients(rest, *entries, held.V, held.routes, held.C),
        plain_branches.child_gradients(rest, *entries, held.V, held.routes, held.C),
        strict=True,
    ):
        torch.testing.assert_close(one, other)
