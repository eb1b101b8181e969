"""What is asked of all layers together is what each gives by itself."""

import pytest
import torch

from monosemy.dictionaries.layer_selections import LayerSelections
from monosemy.dictionaries.penalties import QUADRATIC, TANH, Measure
from monosemy.dictionaries.selection import BatchTopK, JumpReLU, ReLU, TopK
from monosemy.tensors.kernels import PreActivations

SIZES, WIDTH, TOKENS = (9, 7), 4, 30


def draw(*shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def made(kind) -> LayerSelections:
    makers = {
        "relu": lambda m: ReLU(),
        "topk": lambda m: TopK(2),
        "batchtopk": lambda m: BatchTopK(2),
        "jumprelu": lambda m: JumpReLU(torch.linspace(0.2, 0.8, m, dtype=torch.float64), 0.3),
    }
    return LayerSelections([makers[kind](m) for m in SIZES], SIZES)


@pytest.fixture(params=["relu", "topk", "batchtopk", "jumprelu"])
def selection(request) -> LayerSelections:
    """Of every kind, while training."""
    return made(request.param).train()


@pytest.fixture
def layers():
    """What each layer is asked."""
    return [
        PreActivations(
            draw(TOKENS, WIDTH, seed=i), draw(m, WIDTH, seed=10 + i), draw(m, seed=20 + i)
        )
        for i, m in enumerate(SIZES)
    ]


@pytest.fixture
def together(layers):
    """The same as one question: rows that are zero outside their layer."""
    x = torch.cat([pre.x for pre in layers], 1)
    return PreActivations(x, torch.block_diag(*(pre.W for pre in layers)),
                          torch.cat([pre.b for pre in layers]))  # fmt: skip


def test_support_activations_and_penalties_are_those_of_each_layer(selection, layers, together):
    linear = selection.support(together)
    own = [one.support(pre) for one, pre in zip(selection, layers, strict=True)]
    torch.testing.assert_close(linear.dense(), torch.cat([code.dense() for code in own], 1))
    active = [one.activate(code) for one, code in zip(selection, own, strict=True)]
    wanted = torch.cat([code.dense() for code in active], 1)
    torch.testing.assert_close(selection.activate(linear).dense(), wanted)
    assert 0 < (wanted != 0).double().mean() < 0.9
    found = selection.penalties(linear, 8)
    torch.testing.assert_close(found["l1"], wanted.sum() / TOKENS / 8**0.5)
    assert ("l0" in found) == selection.counts
    if selection.counts:
        torch.testing.assert_close(found["l0"], (wanted > 0).sum(1).double().mean())


def test_a_target_is_one_of_all_layers_together(layers, together):
    selection = made("jumprelu").train()
    linear = selection.support(together)
    count = (selection.activate(linear).dense() > 0).sum(1).double().mean()
    selection.measure = Measure(QUADRATIC, target=3.0)
    torch.testing.assert_close(selection.penalties(linear, 8)["l0"], (count / 3 - 1) ** 2)
    assert selection.measure.form == QUADRATIC


def test_lengths_are_asked_for_by_the_number_among_all(together):
    selection = made("relu")
    lengths = torch.linspace(1, 2, sum(SIZES), dtype=torch.float64)
    selection.measure = Measure(TANH, slope=0.5, lengths=lambda chosen: lengths[chosen])
    linear = selection.support(together)
    found, full = selection.penalties(linear, 8), linear.dense()
    torch.testing.assert_close(found["l1"], (full * lengths).sum() / TOKENS / 8**0.5)
    torch.testing.assert_close(found["l0"], (0.5 * full * lengths).tanh().sum() / TOKENS)


def test_k_moves_in_every_layer_within_what_it_has():
    selection = LayerSelections([TopK(2), TopK(1)], SIZES)
    assert selection.k == 2
    selection.k = 8
    assert [one.k for one in selection] == [8, 7]
    selection.k = 1
    assert [one.k for one in selection] == [1, 1]
    selection.k = 2
    assert [one.k for one in selection] == [2, 1]
    without = made("relu")
    without.k = 5
    assert [one.k for one in without] == [0, 0]


def test_a_change_of_units_reaches_every_layer():
    length = torch.arange(1.0, 17.0, dtype=torch.float64)
    jump = made("jumprelu")
    before = torch.cat([one.threshold.detach() for one in jump])
    jump.rescale_(length)
    torch.testing.assert_close(torch.cat([one.threshold.detach() for one in jump]), before * length)
    batch = made("batchtopk")
    for one in batch:
        one.threshold.fill_(2.0)
    batch.rescale_(torch.cat([torch.full((9,), 3.0), torch.full((7,), 5.0)]))
    assert [float(one.threshold) for one in batch] == [6, 10]


def test_what_does_not_fit_is_all_named():
    assert made("topk").refuse_for(16) == []
    found = LayerSelections([TopK(10), ReLU()], SIZES).refuse_for(15)
    assert found == [
        "layer 0: k = 10 for 9 latents; wanted 1 <= k <= latents",
        "layers select by relu, topk; wanted one kind for all of them",
        "selections of 16 latents for 15",
    ]
