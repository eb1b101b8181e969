"""Sizes, and what configurations say of them."""

import pytest

from monosemy.growth.families import family_of
from monosemy.growth.shapes import Growth, Shape, continued, grown, shape_of, written


def test_shapes_are_read_from_configurations(tiny):
    said = {kind: shape_of(tiny(kind).config, family_of(tiny(kind).config))
            for kind in ("gpt2", "opt", "llama")}  # fmt: skip
    assert said["gpt2"] == Shape(2, 24, 4, 4, 6, 96)  # without n_inner, four times the width
    assert said["opt"] == Shape(2, 24, 4, 4, 6, 20)
    assert said["llama"] == Shape(2, 24, 4, 2, 8, 20)
    assert (
        str(said["llama"])
        == "2 layers, width 24, 4 heads of 8 sharing 2 keys and values, 20 neurons"
    )


def test_neurons_stay_when_the_width_grows(tiny):
    config = tiny("gpt2").config
    family = family_of(config)
    shape = shape_of(config, family)
    after, reasons = grown(shape, Growth(heads=2, residual=12), family)
    new, more = written(config, family, shape, after)
    assert reasons == more == []
    assert (new.n_inner, new.n_embd, new.n_head) == (96, 36, 6)
    assert new.layer_norm_epsilon == pytest.approx(config.layer_norm_epsilon * 24 / 36, rel=1e-15)
    assert config.n_embd == 24


@pytest.mark.parametrize(
    ("heads", "groups", "more", "after"),
    [(8, 8, 3, 11), (8, 4, 2, 5), (8, 4, 4, 6), (8, 2, 2, 2), (8, 1, 3, 1), (8, 1, 8, 2)],
)
def test_heads_bring_keys_and_values_where_whole_groups_come(heads, groups, more, after):
    family = family_of(type("Config", (), {"model_type": "llama"}))
    shape, reasons = grown(Shape(1, 64, heads, groups, 8, 10), Growth(heads=more), family)
    assert reasons == []
    assert (shape.heads, shape.groups) == (heads + more, after)


def test_layer_kinds_go_on(tiny):
    assert continued(["s", "s", "f", "s"], 6) == ["s", "s", "f", "s", "s", "f"]
    assert continued(["f"], 3) == ["f", "f", "f"]
    assert continued(["a", "b"], 4) == ["a", "b", "a", "b"]
    config = tiny("gemma2").config
    family = family_of(config)
    shape = shape_of(config, family)
    new, _ = written(config, family, shape, grown(shape, Growth(layers=2), family)[0])
    assert new.layer_types == ["sliding_attention", "full_attention"] * 2


def test_a_growth_says_what_it_is():
    assert str(Growth(mlp=2, layers=1)) == "mlp +2, layers +1"
    assert Growth(mlp=2).problems() == []
    assert len(Growth(mlp=-2, heads=-1).problems()) == 2
