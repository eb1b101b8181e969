"""Weights by hand: what is scaled, silent, free."""

import torch

from monosemy.growth.families import FAMILIES
from monosemy.growth.layout import Layout
from monosemy.growth.plan import plan
from monosemy.growth.shapes import Growth, Shape, grown
from monosemy.growth.widening import Widening, centred, factors


def _widened(kind, growth, tied, old, before):
    family = FAMILIES[kind]
    made = plan(growth, before, grown(before, growth, family)[0], family)
    draw = lambda name, shape: torch.ones(shape, dtype=torch.float64)  # noqa: E731
    return made, Widening(made, family, factors(made, family), tied, 1.0, 0.5, draw)(old)


SHAPE = Shape(1, 2, 1, 1, 2, 2)


def _old(**more):
    eye = torch.eye(2, dtype=torch.float64)
    block = {
        f"{n}.weight": eye * i for i, n in enumerate(("q", "k", "v", "o", "gate", "up", "down"), 1)
    }
    block |= {"before attention.weight": torch.tensor([1.0, 3.0], dtype=torch.float64), **more}
    return Layout({"embed": torch.tensor([[1.0, 3.0]], dtype=torch.float64),
                   "final.weight": torch.ones(2, dtype=torch.float64)}, [block])  # fmt: skip


def test_factors_by_hand():
    before = Shape(1, 8, 2, 2, 4, 6)
    growth = Growth(key=12, value=12, residual=24)
    for kind, wanted in {
        "gpt2": (1.0, 0.5, 2.0, 1.0),  # epsilon falls with the width
        "llama": (1.0, 0.5, 2.0, 1.0),
        "opt": (2.0, 0.5, 2.0, 2.0),  # epsilon cannot change, so the stream is scaled
        "gemma": (2.0, 0.5, 2.0, 1.0),  # its embedding is multiplied by the root of the width
        "gemma2": (2.0, 0.5, 1.0, 1.0),  # and scores are divided by a number of their own
    }.items():
        made = plan(growth, before, grown(before, growth, FAMILIES[kind])[0], FAMILIES[kind])
        given = factors(made, FAMILIES[kind])
        assert (given.stream, given.gain, given.key, given.embed) == wanted, kind


def test_neurons():
    _, new = _widened("llama", Growth(mlp=1), True, _old(), SHAPE)
    block = new.blocks[0]
    assert block["down.weight"].tolist() == [[7, 0, 0], [0, 7, 0]]
    assert block["up.weight"][:2].tolist() == [[6, 0], [0, 6]]
    assert (block["up.weight"][2] != 0).all()
    assert (block["gate.weight"][2] != 0).all()


def test_the_stream():
    """New axes are read by everyone and written by no one; gains make up for the width."""
    made, new = _widened("llama", Growth(residual=6), True, _old(), SHAPE)
    block = new.blocks[0]
    assert new.outside["embed"].tolist() == [[1, 3, 0, 0, 0, 0, 0, 0]]
    assert block["o.weight"][2:].abs().sum() == block["down.weight"][2:].abs().sum() == 0
    assert all((block[f"{n}.weight"][:, 2:] != 0).all() for n in ("q", "k", "v", "gate", "up"))
    assert block["before attention.weight"].tolist() == [0.5, 1.5, 1, 1, 1, 1, 1, 1]


def test_a_mean_that_cannot_be_taken_out_is_carried_on():
    old = _old(**{"o.bias": torch.tensor([1.0, 5.0], dtype=torch.float64)})
    growth = Growth(residual=2, heads=1)
    _, tied = _widened("gpt2", growth, True, old, SHAPE)
    assert tied.outside["embed"].tolist() == [[1, 3, 2, 2]]
    assert tied.blocks[0]["o.bias"].tolist() == [1, 5, 3, 3]
    _, free = _widened("gpt2", growth, False, old, SHAPE)
    assert free.outside["embed"].tolist() == [[-1, 1, 0, 0]]
    assert free.blocks[0]["o.bias"].tolist() == [-2, 2, 0, 0]


def test_keys():
    _, new = _widened("llama", Growth(key=6, value=6), True, _old(), SHAPE)
    k, q = new.blocks[0]["k.weight"], new.blocks[0]["q.weight"]
    # Eight numbers: the old pair is 0 and 4; the root of 8 / 2 is 2.
    assert k[0].tolist() == [4, 0]
    assert k[4].tolist() == [0, 4]
    assert k[[1, 2, 3, 5, 6, 7]].abs().sum() == 0
    assert (q[[1, 2, 3, 5, 6, 7]] != 0).all()


def test_a_new_layer_adds_nothing():
    _, new = _widened("llama", Growth(layers=2), True, _old(), SHAPE)
    assert len(new.blocks) == 3
    assert new.blocks[1]["o.weight"].abs().sum() == new.blocks[2]["down.weight"].abs().sum() == 0
    assert (new.blocks[1]["up.weight"] != 0).all()
    assert new.blocks[1]["before attention.weight"].tolist() == [2, 2]
    old = _old(**{"after mlp.weight": torch.zeros(2, dtype=torch.float64)})
    _, new = _widened("gemma2", Growth(layers=1), True, old, SHAPE)
    assert new.blocks[1]["after mlp.weight"].tolist() == [-1, -1]  # a gain of 0, as it is stored
    assert (new.blocks[1]["down.weight"] != 0).all()


def test_matrices_without_spread_take_the_least():
    """Of one value only, the deviation is 0, and new entries would be dead on both sides."""
    old = _old()
    old.blocks[0]["up.weight"] = torch.zeros(2, 2, dtype=torch.float64)
    _, new = _widened("llama", Growth(mlp=1), True, old, SHAPE)
    assert new.blocks[0]["up.weight"][2].tolist() == [0.5, 0.5]


def test_centring_takes_the_mean_out_of_writers_alone():
    table, bias = torch.tensor([[1.0, 3.0]]), torch.tensor([0.0, 2.0])
    old = Layout({"embed": table, "head": table}, [{"o.bias": bias, "q.bias": bias}])
    new = centred(old)
    assert new.outside["embed"].tolist() == [[-1, 1]]
    assert new.outside["head"].tolist() == [[1, 3]]
    assert new.blocks[0]["o.bias"].tolist() == [-1, 1]
    assert new.blocks[0]["q.bias"].tolist() == [0, 2]
    assert table.tolist() == [[1, 3]]
