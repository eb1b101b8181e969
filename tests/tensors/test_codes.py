import pytest
import torch

from monosemy.foundation.errors import UserError
from monosemy.tensors.codes import SparseCode

FULL = torch.tensor([[0.0, 2.0, 0.0], [0.0, 0.0, 0.0], [1.0, 0.0, 3.0]])


def test_dense_and_back():
    code = SparseCode.from_dense(FULL)
    assert torch.equal(code.dense(), FULL)
    assert code.counts.tolist() == [1, 0, 2]
    assert code.rows.tolist() == [0, 2, 2]


def test_a_slice_is_the_rows_of_the_dense_code():
    code = SparseCode.from_dense(FULL)
    for start, stop in [(0, 3), (1, 2), (1, 3), (2, 2), (0, 99)]:
        assert torch.equal(code[start:stop].dense(), FULL[start:stop])


def test_a_slice_with_a_step_is_refused():
    with pytest.raises(UserError, match="steps of 1, not 2"):
        SparseCode.from_dense(FULL)[::2]


def test_by_latent_is_the_transpose():
    code = SparseCode.from_dense(FULL)
    bounds, order = code.by_latent
    assert bounds.tolist() == [0, 1, 2, 3]
    assert code.indices[order].tolist() == [0, 1, 2]
    assert code.rows[order].tolist() == [2, 0, 2]


def test_values_carry_gradients_to_the_dense_form():
    code = SparseCode.from_dense(FULL)
    values = code.values.clone().requires_grad_()
    (code.with_values(values).dense() * FULL).sum().backward()
    assert values.grad.tolist() == [2.0, 1.0, 3.0]


def _codes(sizes, seed=0, tokens=11, density=0.4):
    draw = torch.Generator().manual_seed(seed)
    full = [torch.randn(tokens, size, generator=draw) for size in sizes]
    return [f * (torch.rand(f.shape, generator=draw) < density) for f in full]


@pytest.mark.parametrize("sizes", [(3,), (3, 1, 4), (2, 0, 5)])
def test_side_by_side_and_split_undo_each_other(sizes):
    full = _codes(sizes)
    codes = [SparseCode.from_dense(f) for f in full]
    one = SparseCode.side_by_side(codes)
    assert torch.equal(one.dense(), torch.cat(full, 1))
    for before, after in zip(codes, one.split(sizes), strict=True):
        for name in ("offsets", "indices", "values", "latents"):
            assert torch.equal(*(torch.as_tensor(getattr(c, name)) for c in (before, after)))
    for layer, size in enumerate(sizes):
        first = sum(sizes[:layer])
        assert torch.equal(one.columns(first, first + size).dense(), full[layer])


def test_stacked_codes_are_the_stacked_matrices():
    full = torch.cat([FULL, torch.zeros(1, FULL.shape[1]), FULL.flip(0)])
    parts = [SparseCode.from_dense(part) for part in full.split([2, len(full) - 2])]
    one, whole = SparseCode.stacked(parts), SparseCode.from_dense(full)
    assert torch.equal(one.dense(), full)
    assert torch.equal(one.offsets, whole.offsets)


def test_a_split_does_not_ask_for_an_order_within_tokens():
    offsets, indices = torch.tensor([0, 3, 5]), torch.tensor([4, 0, 3, 2, 1])
    code = SparseCode(offsets, indices, torch.arange(1.0, 6.0), 5)
    parts = code.split((2, 3))
    assert torch.equal(torch.cat([part.dense() for part in parts], 1), code.dense())


def test_gradients_pass_through_side_by_side_and_split():
    codes = [SparseCode.from_dense(f) for f in _codes((3, 4))]
    values = [code.values.clone().requires_grad_() for code in codes]
    given = [code.with_values(v) for code, v in zip(codes, values, strict=True)]
    parts = SparseCode.side_by_side(given).split((3, 4))
    (parts[0].values.sum() + 2 * (parts[1].values ** 2).sum()).backward()
    assert torch.equal(values[0].grad, torch.ones_like(values[0]))
    torch.testing.assert_close(values[1].grad, 4 * values[1].detach())


def test_keep_drops_entries_and_leaves_tokens():
    code = SparseCode.from_dense(FULL)
    assert torch.equal(code.keep(code.values > 1.5).dense(), FULL * (FULL > 1.5))
