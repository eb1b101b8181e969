import pytest
import torch

from monosemy.data.features.frequencies import forest_parents, zipf_rates


def test_zipf_by_hand():
    found = zipf_rates(4, 1.0, 0.5, 0.1)
    powers = [1, 1 / 2, 1 / 3, 1 / 4]
    assert found.tolist() == pytest.approx([0.1 + 0.4 * (p - 0.25) / 0.75 for p in powers])
    assert zipf_rates(1, 1.0, 0.5, 0.1).tolist() == [0.5]


def test_zipf_falls_from_most_to_least():
    found = zipf_rates(1000, 0.5, 0.4, 5e-4)
    assert (found[0], found[-1]) == (pytest.approx(0.4), pytest.approx(5e-4))
    assert (found.diff() < 0).all()


def test_trees_are_numbered_level_by_level():
    assert forest_parents(12, 2, 2, 2).tolist() == [-1, -1, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert forest_parents(5, 2, 2, 1).tolist() == [-1, -1, 0, 0, 1]
    assert forest_parents(5, 2, 2, 0).tolist() == [-1] * 5
    assert forest_parents(3, 8, 2, 2).tolist() == [-1] * 3


def test_what_is_left_over_is_in_no_tree():
    parents = forest_parents(16_384, 128, 4, 3)
    assert int((parents >= 0).sum()) == 128 * (4 + 16 + 64)
    assert (parents[10_880:] == -1).all()
    assert torch.bincount(parents[parents >= 0]).unique().tolist() == [4]
