import torch

from monosemy.tensors.codes import SparseCode
from monosemy.tensors.prefixes import Prefixes

FULL = torch.tensor([[1.0, 2.0, 0.0, 3.0], [0.0, 0.0, 0.0, 0.0], [4.0, 0.0, 5.0, 6.0]])


def test_a_row_for_each_token_and_part_holds_what_is_new_in_it():
    code = SparseCode.from_dense(FULL)
    part, order = Prefixes(torch.tensor([1, 3, 4])).split(code)
    assert order is None
    assert part.offsets.tolist() == [0, 1, 2, 3, 3, 3, 3, 4, 5, 6]
    assert part.indices.tolist() == [0, 1, 3, 0, 2, 3]


def test_parts_can_be_taken_from_another_order():
    code = SparseCode.from_dense(FULL)
    prefixes = Prefixes(torch.tensor([1, 4]), places=torch.tensor([3, 1, 2, 0]))
    assert prefixes.of(code).tolist() == [1, 1, 0, 1, 1, 0]
    part, order = prefixes.split(code)
    assert part.values.tolist() == [3.0, 1.0, 2.0, 6.0, 4.0, 5.0]
    assert torch.equal(code.values[order], part.values)


def test_numbers_as_places_change_nothing():
    code = SparseCode.from_dense(FULL)
    plain, _ = Prefixes(torch.tensor([2, 4])).split(code)
    placed, order = Prefixes(torch.tensor([2, 4]), places=torch.arange(4)).split(code)
    assert order.tolist() == list(range(6))
    assert torch.equal(plain.offsets, placed.offsets)
    assert torch.equal(plain.values, placed.values)
