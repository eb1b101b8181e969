import pytest
import torch

from monosemy.dictionaries.cross_layer import CrossLayerTranscoder
from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.refined import RefinedDictionary
from monosemy.dictionaries.selection import BatchTopK, build_selection
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


def test_each_of_several_thresholds_is_settled_when_its_turn_comes(rows):
    """The second reading of a refined dictionary is made of what the first one keeps."""
    draw = torch.Generator().manual_seed(1)
    directions = torch.nn.functional.normalize(torch.randn(20, 6, generator=draw), dim=1)
    dictionary = RefinedDictionary.tied(directions, torch.zeros(6), BatchTopK(3)).eval()
    settle_threshold(dictionary, rows)
    assert float(dictionary.code(rows).counts.float().mean()) == 3
    assert float(dictionary.first.threshold) != float(dictionary.selection.threshold)
    assert "support" not in vars(dictionary.selection), "its own answer is back"


def test_layers_settle_one_by_one(rows):
    draw = torch.Generator().manual_seed(1)
    encoders = [torch.randn(10, 3, generator=draw) for _ in range(2)]
    decoders = [torch.randn(10, 2 - layer, 3, generator=draw) for layer in range(2)]
    biases, offset = [torch.zeros(10)] * 2, torch.zeros(2, 3)
    selections = [BatchTopK(1), BatchTopK(2)]
    dictionary = CrossLayerTranscoder(encoders, biases, decoders, offset, selections).eval()
    settle_threshold(dictionary, rows)
    counts = [part.counts.float().mean() for part in dictionary.code(rows).split((10, 10))]
    assert counts == [1, 2]


@pytest.mark.parametrize("target", [1.0, 2.5, 4.0])
def test_a_jumprelu_is_brought_to_its_target_by_one_factor(rows, target):
    dictionary = jumping(1.0)
    before = dictionary.selection.threshold.detach().clone()
    settle_threshold(dictionary, rows, target)
    assert float(dictionary.code(rows).counts.float().mean()) == target
    factors = dictionary.selection.threshold.detach() / before
    torch.testing.assert_close(factors, factors[:1].expand(20))


def test_thresholds_are_halved_at_most(rows):
    dictionary = jumping(3.0)
    settle_threshold(dictionary, rows, 9.0)
    torch.testing.assert_close(dictionary.selection.threshold.mean(), torch.tensor(1.5))
    assert 0 < float(dictionary.code(rows).counts.float().mean()) < 9


def test_without_a_target_a_jumprelu_is_left_alone(rows):
    dictionary = jumping(1.0)
    settle_threshold(dictionary, rows)
    assert torch.equal(dictionary.selection.threshold, jumping(1.0).selection.threshold)


def jumping(mean: float) -> FlatDictionary:
    dictionary = made("jumprelu")
    spread = 0.5 + torch.rand(20, generator=torch.Generator().manual_seed(2))
    dictionary.selection.threshold.data.copy_(mean * spread / spread.mean())
    return dictionary


def test_a_batchtopk_is_brought_to_any_target(rows):
    """Its k is whole, the true L0 of a world is not."""
    dictionary = made("batchtopk")
    settle_threshold(dictionary, rows, 2.5)
    assert float(dictionary.code(rows).counts.float().mean()) == 2.5
