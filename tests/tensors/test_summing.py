"""One battery for everything that sums over a sparse code, against the plain twin in float64."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from monosemy.tensors import compiled, dense, plain, portable
from monosemy.tensors.codes import SparseCode
from monosemy.tensors.rows import RowGradient

BACKENDS = {"compiled": compiled, "portable": portable, "dense": dense}
TYPES = [torch.float32, torch.float64]
VARIANTS = [(name, dtype) for name in BACKENDS for dtype in TYPES]
ids = [f"{name} {str(dtype)[6:]}" for name, dtype in VARIANTS]
each_variant = pytest.mark.parametrize(("name", "dtype"), VARIANTS, ids=ids)
SIZES = st.sampled_from([1, 2, 5, 64, 65, 130, 200])


@st.composite
def codes(draw):
    """A code in float64, the width of what it is multiplied with, and a source of numbers."""
    tokens, latents = draw(SIZES), draw(SIZES)
    density, seed = draw(st.sampled_from([0.0, 0.05, 0.4, 1.0])), draw(st.integers(0, 10_000))
    random = torch.Generator().manual_seed(seed)
    mask = torch.rand(tokens, latents, generator=random) < density
    if draw(st.booleans()):
        mask[::2], mask[:, ::3] = False, False  # tokens without entries, latents without
    full = torch.randn(tokens, latents, generator=random).double()
    return SparseCode.from_mask(mask, full), draw(st.integers(1, 9)), random


def _normal(rows, width, random, strided=False):
    numbers = torch.randn(rows, 2 * width, generator=random).double()
    return numbers[:, ::2] if strided else numbers[:, :width].contiguous()


def _as(dtype, *values):
    """Arguments in `dtype`; a matrix that is not contiguous stays so."""
    for value in values:
        if isinstance(value, SparseCode):
            yield value.with_values(value.values.to(dtype))
        else:
            yield value.to(dtype)


def _gradient(values, touched, unit=None):
    return RowGradient(values, touched, values.new_full((len(values),), torch.nan), unit)


def _close(one, other, dtype):
    assert one.dtype == dtype
    exact = 2e-5 if dtype == torch.float32 else 1e-11
    torch.testing.assert_close(one.double(), other.double(), rtol=exact, atol=exact)


@each_variant
@settings(max_examples=25, deadline=None)
@given(drawn=codes(), strided=st.booleans())
def test_sums_by_token(name, dtype, drawn, strided):
    code, width, random = drawn
    side = BACKENDS[name]
    matrix = _normal(code.latents, width, random, strided)
    target = _normal(code.tokens, width, random, strided)
    shift = _normal(1, width, random)[0]
    _close(side.product(*_as(dtype, code, matrix)), plain.product(code, matrix), dtype)
    ours = side.residual(*_as(dtype, code, matrix, target, shift))
    for one, other in zip(ours, plain.residual(code, matrix, target, shift), strict=True):
        _close(one, other, dtype)
    if len(code.values) or name != "dense":
        dots = side.dots(*_as(dtype, code, target, matrix))
        _close(dots, plain.dots(code, target, matrix), dtype)


@each_variant
@settings(max_examples=25, deadline=None)
@given(drawn=codes(), strided=st.booleans(), before=st.sampled_from([0.0, 0.5, 1.0]))
def test_sums_by_latent(name, dtype, drawn, strided, before):
    code, width, random = drawn
    side = BACKENDS[name]
    matrix = _normal(code.tokens, width, random, strided)
    touched = torch.rand(code.latents, generator=random) < before
    values = _normal(code.latents, width, random)
    values[~touched] = torch.nan  # means nothing
    into = _gradient(values.to(dtype), touched.clone())
    twin = _gradient(values.clone(), touched.clone())
    side.add_rows(*_as(dtype, code, matrix), into)
    plain.add_rows(code, matrix, twin)
    active = torch.bincount(code.indices, minlength=len(touched)) > 0
    assert torch.equal(into.touched, touched | active)
    assert torch.equal(into.touched, twin.touched)
    _close(into.dense(), twin.dense(), dtype)
    if name != "dense":
        _close(side.sum_by_latent(*_as(dtype, code)), plain.sum_by_latent(code), dtype)


@pytest.mark.parametrize("name", ["compiled", "portable"])
@pytest.mark.parametrize("dtype", TYPES)
@settings(max_examples=25, deadline=None)
@given(
    rows=SIZES, width=st.integers(1, 9), share=st.sampled_from([0.0, 0.3, 1.0]),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_sums_over_rows(name, dtype, rows, width, share, seed):
    random, side = torch.Generator().manual_seed(seed), BACKENDS[name]
    some = torch.rand(rows, generator=random) < share
    matrix, weights = _normal(rows, width, random), _normal(1, rows, random)[0] * some
    _close(
        side.weighted_sum(*_as(dtype, weights, matrix)), plain.weighted_sum(weights, matrix), dtype
    )
    values = _normal(rows, width, random)
    values[~some] = torch.nan
    unit = torch.nn.functional.normalize(matrix)
    exact = 1e-5 if dtype == torch.float32 else 1e-12
    for kept in (None, unit):
        twin = _gradient(values, some, kept)
        found = side.squared_norm(
            _gradient(values.to(dtype), some, None if kept is None else kept.to(dtype))
        )
        assert found.dtype == torch.float64
        # The part along a row is taken off the whole, so the whole sets the scale of rounding.
        error = abs(float(found) - float(plain.squared_norm(twin)))
        assert error <= exact * float(twin.dense().square().sum())


def test_the_squared_norm_by_hand():
    values, some = torch.tensor([[3.0, 4.0], [torch.nan, 1.0], [0.0, 2.0]]), [True, False, True]
    unit = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    for side in (plain, compiled):
        assert float(side.squared_norm(_gradient(values, torch.tensor(some)))) == 29
        assert float(side.squared_norm(_gradient(values, torch.tensor(some), unit))) == 16


@pytest.mark.parametrize("name", BACKENDS)
def test_what_is_written_to_is_measured_anew(name):
    """Lengths are kept from the sums, so whatever changes a row must say so."""
    code, tokens, latents = _large()
    unit = torch.nn.functional.normalize(latents)
    into = _gradient(torch.empty(300, 33), torch.zeros(300, dtype=torch.bool), unit)
    for _ in range(3):
        BACKENDS[name].add_rows(code, tokens, into)
        truth = plain.squared_norm(_gradient(into.values, into.touched, unit))
        torch.testing.assert_close(compiled.squared_norm(into), truth, rtol=1e-5, atol=0)
        some = code[:5]
        BACKENDS[name].add_rows(some, tokens[:5], into)
        truth = plain.squared_norm(_gradient(into.values, into.touched, unit))
        torch.testing.assert_close(compiled.squared_norm(into), truth, rtol=1e-5, atol=0)
        into.values[7] = 2.0
        into.changed(torch.tensor([7]))
        truth = plain.squared_norm(_gradient(into.values, into.touched, unit))
        torch.testing.assert_close(compiled.squared_norm(into), truth, rtol=1e-5, atol=0)
        into.touched.fill_(False)  # as an update does
        assert float(compiled.squared_norm(into)) == 0


@pytest.mark.parametrize("name", BACKENDS)
def test_the_battery_can_fail(name):
    random = torch.Generator().manual_seed(0)
    code = SparseCode.from_dense(_normal(5, 6, random))
    matrix = _normal(6, 3, random)
    wrong = code.with_values(code.values * (1 + 1e-9))
    with pytest.raises(AssertionError):
        _close(BACKENDS[name].product(wrong, matrix), plain.product(code, matrix), torch.float64)


# --- exact repetition ------------------------------------------------------------------------------


def _large():
    random = torch.Generator().manual_seed(0)
    full = torch.randn(700, 300, generator=random)
    code = SparseCode.from_mask(torch.rand(700, 300, generator=random) < 0.1, full)
    tokens, latents = (torch.randn(n, 33, generator=random) for n in (700, 300))
    return code, tokens, latents


def _everything(side):
    code, tokens, latents = _large()
    into = _gradient(torch.empty(300, 33), torch.zeros(300, dtype=torch.bool))
    side.add_rows(code, tokens, into)
    side.add_rows(code, tokens, into)
    rest, squares = side.residual(code, latents, tokens, tokens[0])
    return [
        side.product(code, latents), side.dots(code, tokens, latents), rest, squares,
        into.dense(), compiled.sum_by_latent(code), compiled.squared_norm(into),
        compiled.weighted_sum(code.values[:300], latents),
    ]  # fmt: skip


@pytest.mark.parametrize("name", BACKENDS)
def test_results_repeat_to_the_last_bit(name):
    once, again = _everything(BACKENDS[name]), _everything(BACKENDS[name])
    assert all(torch.equal(a, b) for a, b in zip(once, again, strict=True))


def test_compiled_sums_do_not_depend_on_the_number_of_threads():
    shared = _everything(compiled)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        alone = _everything(compiled)
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(shared, alone, strict=True))


@pytest.mark.parametrize("name", ["portable", "dense"])
def test_parts_change_nothing(name, monkeypatch):
    whole = _everything(BACKENDS[name])
    monkeypatch.setattr(BACKENDS[name], "_ENTRIES", 300 * 31)
    for one, other in zip(whole, _everything(BACKENDS[name]), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
