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
