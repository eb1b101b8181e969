"""Which indices are new."""

import torch

from monosemy.growth.families import FAMILIES
from monosemy.growth.plan import Axis, plan
from monosemy.growth.shapes import Growth, Shape, grown


def _plan(kind, before, growth):
    family = FAMILIES[kind]
    after, reasons = grown(before, growth, family)
    assert reasons == []
    return plan(growth, before, after, family)


def test_new_entries_lie_behind():
    made = _plan("gpt2", Shape(1, 8, 2, 2, 4, 6), Growth(mlp=3, heads=1, residual=4, layers=2))
    assert made.to_json()["new"] == {
        "stream": [[8, 12]], "neurons": [[6, 9]], "queries": [[8, 12]], "keys": [[8, 12]],
        "values": [[8, 12]], "mixed": [[8, 12]], "layers": [[1, 3]],
    }  # fmt: skip
    assert len(made.new_keys) == 0


def test_wider_heads_get_theirs_each():
    made = _plan("gpt2", Shape(1, 8, 2, 2, 4, 6), Growth(key=1, value=1, residual=2))
    assert made.keys.slices() == [(4, 5), (9, 10)]
    assert made.new_keys.tolist() == [4, 9]
    turned = _plan("llama", Shape(1, 8, 2, 1, 4, 6), Growth(key=2, value=2))
    assert turned.queries.slices() == [(2, 3), (5, 6), (8, 9), (11, 12)]
    assert turned.values.slices() == [(4, 6)]
    assert turned.mixed.slices() == [(4, 6), (10, 12)]


def test_heads_join_their_groups():
    """Two groups of two heads get a third each, which reads the group's own keys."""
    made = _plan("llama", Shape(1, 8, 6, 2, 2, 6), Growth(heads=2))
    assert made.after.groups == 2
    assert made.queries.slices() == [(6, 8), (14, 16)]
    assert made.keys.slices() == []
    whole = _plan("llama", Shape(1, 8, 6, 2, 2, 6), Growth(heads=3))
    assert whole.after.groups == 3
    assert whole.queries.slices() == [(12, 18)]
    assert whole.keys.slices() == [(4, 6)]
    assert len(whole.new_keys) == 0  # keys of new heads are free


def test_steps_lie_where_the_whole_says():
    """Heads that join groups, then wider rotary heads: the places of both, one after the other."""
    first, then = Growth(heads=2), Growth(key=2, value=2)
    before = Shape(1, 8, 6, 2, 2, 6)
    one = _plan("llama", before, first)
    two = _plan("llama", one.after, then)
    whole = _plan("llama", before, Growth(heads=2, key=2, value=2))
    for name in ("queries", "keys", "values", "mixed"):
        step, after = getattr(one, name), getattr(two, name)
        assert torch.equal(after.places[step.places], getattr(whole, name).places), name


def test_old_and_new_are_everything():
    axis = Axis(7, torch.tensor([0, 3, 4]))
    assert axis.new.tolist() == [1, 2, 5, 6]
    assert axis.slices() == [(1, 3), (5, 7)]
