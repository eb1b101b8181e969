"""What the Triton kernels promise; `test_triton_kernels.py` runs this where Triton can run.

Triton's interpreter takes about 0.1 s a token, so shapes are small; none is a multiple of a block.
"""

import os

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from monosemy.tensors import plain, triton_kernels
from monosemy.tensors.codes import SparseCode
from monosemy.tensors.rows import AdamSettings, RowGradient
from monosemy.tensors.triton import above
from monosemy.tensors.triton.tiles import Operands, Tiling

DEVICE = "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"
# Sizes of tokens, width, latents; and of k. The last two want more than there is.
SHAPES = [(5, 20, 70, 3), (1, 16, 33, 1), (17, 3, 9, 2), (2, 1, 1, 1), (2, 8, 20, 20), (2, 8, 5, 9)]


def _draw(*shape, seed=0, whole=False):
    draw = torch.Generator().manual_seed(seed + sum(shape))
    if whole:
        return torch.randint(-2, 3, shape, generator=draw).float().to(DEVICE)
    return torch.randn(*shape, generator=draw).to(DEVICE)


def _encoder(tokens, width, latents, whole=False):
    x, W = _draw(tokens, width, whole=whole), _draw(latents, width, seed=1, whole=whole)
    return x, W, _draw(latents, seed=2, whole=whole)


def _dense(code):
    """Stored entries added up, in float64: missing entries of fixed length stand at latent 0."""
    full = torch.zeros(code.tokens, code.latents, dtype=torch.float64, device=DEVICE)
    return full.index_put((code.rows, code.indices), code.values.double(), accumulate=True)


def _close(one, other):
    torch.testing.assert_close(one.double(), other.double(), rtol=1e-5, atol=1e-5)


def _agree(code, truth):
    _close(_dense(code), truth.dense())
    assert torch.equal(_dense(code) > 0, truth.dense() > 0)


def _twin(name, x, W, b, *settings):
    settings = [s.double() if isinstance(s, torch.Tensor) else s for s in settings]
    return getattr(plain, name)(x.double(), W.double(), b.double(), *settings)


def _same(one, other):
    assert torch.equal(one.offsets, other.offsets)
    assert torch.equal(one.indices, other.indices)
    _close(one.values, other.values)


def _code(values=None):
    """Tokens with many entries, none, one twice, one; latent 2 on more entries than a block."""
    counts = torch.tensor([12, 0, 2, 1])
    indices = torch.tensor([0, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 6, 3, 3, 1])
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
    values = _draw(15, seed=3) if values is None else values
    return SparseCode(offsets.to(DEVICE), indices.to(DEVICE), values, 7)


@pytest.mark.parametrize(
    ("tokens", "width", "latents", "k", "propose"),
    [(*shape, False) for shape in SHAPES] + [(*shape, True) for shape in SHAPES[:2]],
)
def test_the_largest_are_those_of_the_plain_twin(tokens, width, latents, k, propose):
    encoder = _encoder(tokens, width, latents)
    code = triton_kernels.keep_largest(*encoder, k, propose)
    assert code.offsets.tolist() == [k * token for token in range(tokens + 1)]
    assert (code.indices.view(tokens, k).diff(dim=1) >= 0).all()
    _agree(code, _twin("keep_largest", *encoder, k))


def test_of_equal_values_the_lowest_latents_are_kept():
    x, W, b = _encoder(4, 3, 50, whole=True)
    truth = _twin("keep_largest", x, W, b, 6)
    pre = plain.pre_activations(x, W, b)
    assert any((row == row.topk(6).values[-1]).sum() > 1 for row in pre)
    _agree(triton_kernels.keep_largest(x, W, b, 6), truth)
    # More equal ones than candidates, in every tile.
    same = torch.ones(150, 3, device=DEVICE)
    code = triton_kernels.keep_largest(same[:2], same, same[:, 0].contiguous(), 6)
    assert code.indices.tolist() == [0, 1, 2, 3, 4, 5] * 2
    assert code.values.unique().tolist() == [4.0]


def test_a_token_without_positive_entries_has_zeros_at_latent_zero():
    x, W, b = torch.ones(2, 4, device=DEVICE), _draw(40, 4), torch.full((40,), -99.0, device=DEVICE)
    b[7] = 50
    x[0] = -0.0
    code = triton_kernels.keep_largest(x, W, b, 3)
    assert code.indices.tolist() == [0, 0, 7] * 2
    assert (code.values.view(2, 3)[:, :2] == 0).all()
    assert (triton_kernels.keep_largest(x, W, b - 200, 3).values == 0).all()


def test_nan_is_never_kept():
    x, W, b = _encoder(3, 5, 40)
    x[1, 2] = torch.nan
    W[4], b[9] = torch.nan, torch.nan
    floor = torch.full_like(b, -1.0)
    for name, setting in [("keep_largest", 7), ("keep_above", floor), ("keep_batch", 8)]:
        code = getattr(triton_kernels, name)(x, W, b, setting)
        _agree(code, _twin(name, x, W, b, setting))
        assert not code.values.isnan().any()
        assert (code.values[code.rows == 1] == 0).all()


def test_a_tile_that_hides_candidates_is_computed_again():
    x, W, b = _encoder(2, 6, 330)
    tiling = Tiling.of(Operands.of(x, W, b, False))
    assert tiling.tiles > 5
    # Twelve of the best in one tile, which passes on four or eight.
    b[3 :: tiling.tiles][:12] += 40
    _agree(triton_kernels.keep_largest(x, W, b, 10), _twin("keep_largest", x, W, b, 10))


@pytest.mark.parametrize(
    ("tokens", "width", "latents", "k", "propose"),
    [(*shape, propose) for shape in SHAPES[:4] for propose in (False, True)],
)
def test_all_above_their_floor_are_kept(tokens, width, latents, k, propose):
    encoder = _encoder(tokens, width, latents)
    floor = _draw(latents, seed=5)
    code = triton_kernels.keep_above(*encoder, floor, propose)
    _same(code, _twin("keep_above", *encoder, floor))


def test_the_floor_itself_is_not_above():
    x, W, b = _encoder(4, 3, 50, whole=True)
    floor = torch.ones_like(b)
    truth = _twin("keep_above", x, W, b, floor)
    assert (plain.pre_activations(x, W, b) == 1).any()
    _same(triton_kernels.keep_above(x, W, b, floor), truth)
    code = triton_kernels.keep_above(x, W, b, floor * 99)
    assert code.offsets.tolist() == [0] * 5


def test_what_bf16_cannot_tell_from_the_floor_is_decided_in_fp32():
    # In bf16 the entry is 1, below the first floor; above the second it never is.
    x = torch.full((1, 16), 1 + 2**-10, device=DEVICE)
    W = torch.zeros(40, 16, device=DEVICE)
    W[:, 0] = 1
    assert float(x[0, 0].bfloat16()) == 1
    b, floor = torch.zeros(40, device=DEVICE), torch.full((40,), 1 + 2**-11, device=DEVICE)
    floor[5:] = 1 + 2**-9
    code = triton_kernels.keep_above(x, W, b, floor, propose=True)
    assert code.indices.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("guess", [0.0, 1.0, 99.0, -1.0])
def test_the_batch_keeps_its_largest_whatever_the_guess(guess):
    encoder = _encoder(3, 5, 40, whole=True)
    code = triton_kernels.keep_batch(*encoder, 10, guess)
    _same(code, _twin("keep_batch", *encoder, 10))


def test_a_good_guess_needs_no_second_product(monkeypatch):
    encoder = _encoder(3, 5, 40, whole=True)
    truth = _twin("keep_batch", *encoder, 10)
    smallest = float(truth.values.min())
    assert (plain.pre_activations(*encoder) == smallest).sum() > (truth.values == smallest).sum()

    def refuse(*_):
        raise AssertionError("a second product")

    monkeypatch.setattr(above, "_lower_bound", refuse)
    _same(triton_kernels.keep_batch(*encoder, 10, smallest - 0.5), truth)
    with pytest.raises(AssertionError, match="a second product"):
        triton_kernels.keep_batch(*encoder, 10, smallest)


def test_a_batch_of_fewer_positive_entries_keeps_them_all():
    encoder = _encoder(2, 5, 33)
    _same(triton_kernels.keep_batch(*encoder, 999), _twin("keep_batch", *encoder, 999))
    encoder[2].sub_(99)
    assert triton_kernels.keep_batch(*encoder, 4, 0.5).offsets.tolist() == [0, 0, 0]


def test_tokens_of_unequal_weight_share_the_batch():
    x, W, b = _encoder(4, 5, 40)
    x[2] *= 30
    _same(triton_kernels.keep_batch(x, W, b, 8), _twin("keep_batch", x, W, b, 8))


def test_sums_over_entries_equal_the_dense_ones():
    code = _code()
    rows, tokens = _draw(7, 37), _draw(4, 37, seed=1)
    full = _dense(code)
    decoded = triton_kernels.product(code, rows)
    _close(decoded, full @ rows.double())
    assert (decoded[1] == 0).all()
    table = (tokens.double() @ rows.double().T)[code.rows, code.indices]
    _close(triton_kernels.dots(code, tokens, rows), table)
    _close(triton_kernels.sum_by_latent(code), full.sum(0))
    target, shift = _draw(4, 37, seed=2), _draw(37)
    rest, squares = triton_kernels.residual(code, rows, target, shift)
    truth = target.double() - shift.double() - full @ rows.double()
    _close(rest, truth)
    _close(squares, truth.square().sum(1))


def test_rows_that_are_wider_than_a_block():
    code, rows = _code(), _draw(7, 1100)
    _close(triton_kernels.product(code, rows), _dense(code) @ rows.double())
    left = _draw(4, 1100)
    rest, squares = triton_kernels.residual(code, rows, left, rows[0])
    _close(rest, left.double() - rows[0].double() - _dense(code) @ rows.double())
    torch.testing.assert_close(squares, rest.square().sum(1))
    table = (left.double() @ rows.double().T)[code.rows, code.indices]
    torch.testing.assert_close(
        triton_kernels.dots(code, left, rows).double(), table, rtol=1e-4, atol=1e-4
    )


def test_no_entries_are_no_work():
    none = torch.zeros(0, device=DEVICE)
    code = SparseCode(torch.zeros(3, dtype=torch.int64, device=DEVICE), none.long(), none, 4)
    gradient = RowGradient.of(_draw(4, 3))
    triton_kernels.add_rows(code, _draw(2, 3), gradient)
    assert not gradient.touched.any()
    assert triton_kernels.product(code, _draw(4, 3)).tolist() == [[0.0] * 3] * 2
    assert len(triton_kernels.dots(code, _draw(2, 3), _draw(4, 3))) == 0
    assert triton_kernels.sum_by_latent(code).tolist() == [0.0] * 4
    nothing = triton_kernels.keep_largest(_draw(0, 3), *_encoder(1, 3, 5)[1:], 2)
    assert nothing.offsets.tolist() == [0]


def _gradient(latents, width, rows=None):
    """What was never written is NaN here, so that reading it shows."""
    gradient = RowGradient.of(torch.zeros(latents, width, device=DEVICE) if rows is None else rows,
                              unit=rows is not None)  # fmt: skip
    gradient.values.fill_(torch.nan)
    return gradient


def test_row_gradients_add_up():
    code, x, gradient = _code(), _draw(4, 37), _gradient(7, 37)
    triton_kernels.add_rows(code, x, gradient)
    once = _dense(code).T @ x.double()
    assert gradient.touched.tolist() == [True, True, True, True, False, False, True]
    _close(gradient.dense(), once)
    triton_kernels.add_rows(code, x, gradient)
    _close(gradient.dense(), 2 * once)
    assert gradient.values[4:6].isnan().all()


def test_missing_entries_touch_nothing_and_carry_no_gradient():
    values = _draw(15, seed=3)
    values[0] = 0
    gradient = _gradient(7, 5)
    triton_kernels.add_rows(_code(values), _draw(4, 5), gradient)
    assert not gradient.touched[0]
    dots = triton_kernels.dots(
        _code(values), torch.full((4, 5), torch.nan, device=DEVICE), _draw(7, 5)
    )
    assert dots[0] == 0
    assert dots[1].isnan()
    _close(gradient.dense(), _dense(_code(values)).T @ _draw(4, 5).double())


def _filled(latents, width, rows=None):
    gradient = _gradient(latents, width, rows)
    gradient.values[1::2] = _draw(len(gradient.values[1::2]), width)
    gradient.touched[1::2] = True
    return gradient


def test_the_norm_counts_touched_rows_and_leaves_out_what_lies_along_unit_rows():
    rows, norms = torch.nn.functional.normalize(_draw(6, 21, seed=7)), []
    for given in (None, rows):
        gradient = _filled(6, 21, given)
        found, truth = (k.squared_norm(gradient) for k in (triton_kernels, plain))
        assert found.dtype is torch.float64
        torch.testing.assert_close(found, truth, rtol=1e-6, atol=0)
        norms.append(found)
    assert norms[0] > norms[1]


@pytest.mark.parametrize("unit", [False, True])
def test_updates_follow_the_plain_twin(unit):
    width = 21
    start = torch.nn.functional.normalize(_draw(6, width, seed=8))
    ours, twin = ([start.clone(), *torch.zeros(2, 6, width, device=DEVICE)] for _ in range(2))
    twin = [tensor.double() for tensor in twin]
    for step in (1, 2, 3):
        scale = torch.tensor(0.7, device=DEVICE) if step == 2 else 0.9
        settings = AdamSettings(0.1, (0.9, 0.999), 1e-8, 0.01, step, scale)
        gradient = _filled(6, width, ours[0] if unit else None)
        triton_kernels.update_rows(ours[0], gradient, *ours[1:], settings)
        assert not gradient.touched.any()
        exact = RowGradient.of(twin[0], unit)
        exact.values[1::2] = _filled(6, width).values[1::2].double()
        exact.touched[1::2] = True
        plain.update_rows(twin[0], exact, *twin[1:], settings)
    for one, other in zip(ours, twin, strict=True):
        _close(one, other)
    lengths = ours[0].norm(dim=1)
    assert ((lengths - 1).abs() < 1e-5).all() == unit


def _step():
    x, W, b = _encoder(2, 20, 40)
    code = triton_kernels.keep_largest(x, W, b, 3)
    gradient = _gradient(40, 20, W)
    out = triton_kernels.product(code, W)
    code = code.with_values(triton_kernels.dots(code, x, W))
    triton_kernels.add_rows(code, x, gradient)
    norm = triton_kernels.squared_norm(gradient)
    mean, variance = torch.zeros(2, 40, 20, device=DEVICE)
    settings = AdamSettings(0.1, (0.9, 0.999), 1e-8, 0.0, 1, norm.rsqrt())
    triton_kernels.update_rows(W, gradient, mean, variance, settings)
    return code.indices, code.values, out, triton_kernels.sum_by_latent(code), norm, W


class _Watch(TorchDispatchMode):
    """Operations that would have the host wait for a GPU, and the largest tensor made."""

    WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "bincount", "unique", "equal")

    def __init__(self):
        super().__init__()
        self.waited, self.largest = set(), 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        self.waited.update(word for word in self.WAITING if name.startswith(word))
        out = func(*args, **(kwargs or {}))
        # Bytes are the interpreter's own copies of what a kernel is given.
        if isinstance(out, torch.Tensor) and out.dtype is not torch.uint8:
            self.largest = max(self.largest, out.numel())
        return out


def test_a_top_k_step_repeats_exactly_and_never_waits():
    with _Watch() as watch:
        first = _step()
    assert watch.waited == set()
    for one, other in zip(first, _step(), strict=True):
        assert torch.equal(one, other)


def test_a_threshold_waits():
    x, W, b = _encoder(2, 20, 40)
    with _Watch() as watch:
        triton_kernels.keep_above(x, W, b, b)
    assert watch.waited == {"_local_scalar_dense", "nonzero", "bincount"}


def test_no_table_of_tokens_and_latents_is_made():
    x, W, b = _encoder(20, 16, 2000)
    assert W.numel() < len(x) * len(W)
    for name, setting in [("keep_above", torch.full_like(b, 9.0)), ("keep_largest", 2)]:
        with _Watch() as ours:
            getattr(triton_kernels, name)(x, W, b, setting)
        assert ours.largest <= W.numel()
        with _Watch() as twin:
            getattr(plain, name)(x, W, b, setting)
        assert twin.largest >= len(x) * len(W)


@pytest.mark.skipif(DEVICE == "cpu", reason="CUDA graphs need a GPU")
def test_a_cuda_graph_holds_the_step():
    x, W, b = _encoder(40, 64, 3000)
    triton_kernels.keep_largest(x, W, b, 8, True)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        code = triton_kernels.keep_largest(x, W, b, 8, True)
        out = triton_kernels.product(code, W)
    x.copy_(_draw(40, 64, seed=9))
    graph.replay()
    truth = _twin("keep_largest", x, W, b, 8)
    _agree(code, truth)
    torch.testing.assert_close(out.double(), truth.dense() @ W.double(), rtol=1e-4, atol=1e-4)
