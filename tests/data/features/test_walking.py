import numpy as np
import torch

from monosemy.data.features.tables import tables_of
from monosemy.data.features.walking import walk


def test_entries_are_as_many_as_the_counts_say(law):
    counts, indices, values = walk(tables_of(law), 3, 0, 1000)
    assert len(counts) == 1000
    assert len(indices) == len(values) == counts.sum()


def test_a_sample_is_the_same_wherever_a_share_begins(correlated):
    tables = tables_of(correlated)
    whole, late = walk(tables, 3, 0, 50), walk(tables, 3, 20, 50)
    skipped = whole[0][:20].sum()
    assert np.array_equal(whole[1][skipped:], late[1])
    assert np.array_equal(whole[2][skipped:], late[2])


def test_room_grows_where_more_is_active_than_expected(make_law):
    """200 roots that always fire, on more samples than there is room for at the beginning."""
    flat, none = torch.zeros(200), torch.full((200,), -1)
    chance = torch.ones(200, dtype=torch.float64)
    law = make_law(
        features=200, parents=none, chance=chance, rules=none * 0, mean=flat + 1, spread=flat,
        gain=flat, factor=torch.zeros(200, 0),
    )  # fmt: skip
    counts, indices, values = walk(tables_of(law), 0, 0, 300)
    assert (counts == 200).all()
    assert np.array_equal(indices.reshape(300, 200), np.tile(np.arange(200), (300, 1)))
    assert (values == 1).all()
