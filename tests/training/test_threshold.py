import pytest
import torch

from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.selection import build_selection
from monosemy.training.threshold import settle_threshold


@pytest.fixture
def rows() -> torch.Tensor:
    return torch.randn(70, 6, generator=torch.Generator().manual_seed(0))


def made(kind: str = "batchtopk", k: int = 2) -> FlatDictionary:
    draw = torch.Generator().manual_seed(1)
    return FlatDictionary.random(6, 20, build_selection(kind, k, 20), draw).eval()


def test_afterwards_the_mean_l0_of_the_rows_is_exactly_k(rows):
    for k in (1, 2, 5):
        dictionary = made(k=k)
        assert float(dictionary.code(rows).counts.float().mean()) > k
        settle_threshold(dictionary, rows)
        assert float(dictionary.code(rows).counts.float().mean()) == k


def test_it_lies_halfway_between_the_last_kept_and_the_first_left_out(rows):
    dictionary = made()
    pre = (rows @ dictionary.W_enc.T).flatten().sort(descending=True).values
    settle_threshold(dictionary, rows)
    expected = (pre[2 * 70 - 1].double() + pre[2 * 70].double()) / 2
    torch.testing.assert_close(dictionary.selection.threshold, expected, rtol=1e-6, atol=0)


def test_where_everything_positive_fits_it_is_left_alone(rows):
    dictionary = made(k=20)
    dictionary.selection.threshold.fill_(0.125)
    settle_threshold(dictionary, rows)
    assert float(dictionary.selection.threshold) == 0.125


@pytest.mark.parametrize("kind", ["relu", "topk"])
def test_other_selections_are_left_alone(rows, kind):
    dictionary = made(kind)
    before = dictionary.encode(rows)
    settle_threshold(dictionary, rows)
    assert torch.equal(dictionary.encode(rows), before)
