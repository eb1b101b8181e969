"""Columns of a toy turned onto own axes: lengths stay, products shrink, axes are kept."""

import pytest
import torch

from monosemy.growth.toys import reserved, turn, widen


@pytest.fixture
def w():
    return torch.randn(4, 3, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


CHOSEN = torch.tensor([[0, 2], [1, 3], [0, 5], [4, 5]])


def test_widening_changes_no_product(w):
    wide = widen(w, 2)
    assert wide.shape == (4, 5, 6)
    assert torch.equal(wide.transpose(1, 2) @ wide, w.transpose(1, 2) @ w)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_lengths_stay_and_products_shrink_by_the_root(w, share):
    wide = widen(w, 2)
    new = turn(wide, CHOSEN, 3, share)
    torch.testing.assert_close(new.norm(dim=1), wide.norm(dim=1))
    before, after = (one.transpose(1, 2) @ one for one in (wide, new))
    for instance, pair in enumerate(CHOSEN.tolist()):
        others = [i for i in range(6) if i not in pair]
        for i in pair:
            torch.testing.assert_close(
                after[instance, i, others], (1 - share) ** 0.5 * before[instance, i, others]
            )
        torch.testing.assert_close(
            after[instance][others][:, others], before[instance][others][:, others]
        )
    if share == 0:
        torch.testing.assert_close(new, wide)


def test_a_turn_in_steps_ends_where_one_turn_does(w):
    wide = widen(w, 2)
    steps = wide
    for share in (0.25, 0.5, 1.0):
        steps = turn(steps, CHOSEN, 3, share)
    torch.testing.assert_close(steps, turn(wide, CHOSEN, 3, 1.0))


def test_axes_belong_to_one_feature_each(w):
    wide = widen(w, 2)
    mask = reserved(wide, CHOSEN, 3, gone=True)
    for instance, (first, second) in enumerate(CHOSEN.tolist()):
        assert mask[instance, 3].nonzero().flatten().tolist() == [first]
        assert mask[instance, 4].nonzero().flatten().tolist() == [second]
        assert not mask[instance, :3, [first, second]].any()
    assert mask.sum() == 4 * (3 * 4 + 2)
    assert reserved(wide, CHOSEN, 3, gone=False)[:, :3].all()
