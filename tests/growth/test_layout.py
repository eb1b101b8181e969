"""One shape of weights for every family, and back."""

import torch

from monosemy.growth import layout
from monosemy.growth.families import family_of
from monosemy.growth.shapes import shape_of


def _read(model):
    family = family_of(model.config)
    return family, shape_of(model.config, family)


def test_weights_come_back_bit_for_bit(model):
    family, shape = _read(model)
    state = layout.write(layout.read(model, family, shape), model, family, shape)
    assert state.keys() == model.state_dict().keys()
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())
    assert layout.strangers(model, family, shape) == []


def test_matrices_are_out_by_in_and_apart(model):
    family, shape = _read(model)
    found = layout.read(model, family, shape)
    sizes = {"q": (shape.heads * shape.head, shape.width), "up": (shape.neurons, shape.width),
             "k": (shape.groups * shape.head, shape.width), "down": (shape.width, shape.neurons),
             "v": (shape.groups * shape.head, shape.width),
             "o": (shape.width, shape.heads * shape.head)}  # fmt: skip
    for weights in found.blocks:
        for name, size in sizes.items():
            assert tuple(weights[f"{name}.weight"].shape) == size, name
    assert ("head" in found.outside) != layout.is_tied(model)


def test_fused_queries_are_those_of_the_library(tiny):
    gpt2 = tiny("gpt2")
    weights = layout.read(gpt2, *_read(gpt2)).blocks[1]
    fused = gpt2.transformer.h[1].attn.c_attn.weight
    assert torch.equal(weights["k.weight"], fused[:, 24:48].T)
    neox = tiny("gpt_neox")
    weights = layout.read(neox, *_read(neox)).blocks[0]
    fused = neox.gpt_neox.layers[0].attention.query_key_value.weight
    # Head 2 of four, of six numbers: its queries, keys and values lie side by side.
    assert torch.equal(weights["v.weight"][12:18], fused[36 + 12 : 36 + 18])


def test_a_stranger_is_found(tiny):
    import copy

    model = copy.deepcopy(tiny("llama"))
    model.model.layers[1].self_attn.extra = torch.nn.Linear(2, 2, bias=False)
    assert layout.strangers(model, *_read(model)) == ["model.layers.1.self_attn.extra.weight"]
