"""Counts of what fires together, against dense matrices."""

import pytest
import torch

from monosemy.tensors.codes import SparseCode
from monosemy.tensors.firings import Firings, firing, pattern_counts


def dense(tokens, columns, share=0.3, seed=0):
    return torch.rand(tokens, columns, generator=torch.Generator().manual_seed(seed)) < share


def firings(mask):
    return Firings.of([SparseCode.from_dense(mask.float())])


def test_lists_are_the_transpose():
    mask = dense(50, 7)
    mask[:, 3] = False
    found = firings(mask)
    bounds, tokens = found.lists
    for column in range(7):
        here = tokens[bounds[column] : bounds[column + 1]]
        assert here.tolist() == mask[:, column].nonzero().flatten().tolist()
    assert found.counts.tolist() == mask.sum(0).tolist()
    assert found.tokens == 50


def test_pieces_are_one_after_another_and_zeros_do_not_fire():
    mask = dense(40, 5)
    whole = firings(mask)
    full = torch.where(mask, -1.0, 0.0)
    code = SparseCode.from_mask(torch.ones_like(mask), full)  # entries of value zero too
    parts = Firings.of([code[:13], code[13:13], code[13:]])
    assert torch.equal(parts.offsets, whole.offsets)
    assert torch.equal(parts.indices, whole.indices)


def test_together_is_a_product_of_matrices():
    one, other = dense(200, 40), dense(200, 23, 0.1, seed=1)
    chosen = torch.tensor([5, 0, 39, 5])
    found = firings(one).together_with(firings(other), chosen)
    assert torch.equal(found, (one.int().T @ other.int())[chosen])


@pytest.mark.parametrize("size", [1, 30, 200, 1000])
def test_patterns_are_counted_in_every_block(size):
    one, other = dense(200, 6), dense(200, 4, 0.6, seed=1)
    places = [
        (firings(one), torch.tensor([0, 5, 2])),
        (firings(other), torch.tensor([3, 3, -1])),
        (firings(one), torch.tensor([1, 5, 0])),
    ]
    found = pattern_counts(places, size)
    columns = [
        torch.stack([mask[:, c] & (c >= 0) for c in places[i][1]], 1)
        for i, mask in enumerate((one, other, one))
    ]
    number = sum(column.int() << place for place, column in enumerate(columns))
    for pattern in range(1, 8):
        blocks = (number == pattern).split(size)
        wanted = torch.stack([block.sum(0) for block in blocks])
        assert torch.equal(found[pattern], wanted.int())
    assert not found[0].any()
    both = torch.stack([(columns[0] & columns[1])[b].sum(0) for b in torch.arange(200).split(size)])
    assert torch.equal(firing(found, 0, 1), both)


def test_counts_by_block():
    mask = dense(25, 4)
    found = firings(mask).counts_by_block(torch.tensor([2, -1]), 10)
    wanted = torch.stack([part[:, 2].sum() for part in mask.split(10)])
    assert found[:, 0].tolist() == wanted.tolist()
    assert not found[:, 1].any()
