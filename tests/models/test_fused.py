import pytest
import torch
from transformers import GPT2Config, GPT2Model
from transformers.activations import ACT2FN

from monosemy.models.fused import fuse


@pytest.mark.parametrize("name", ["gelu_new", "gelu_fast"])
def test_values_are_the_same_within_rounding(name):
    holder = torch.nn.ModuleDict({"act": ACT2FN[name]})
    x = torch.linspace(-12, 12, 10_001)
    before = holder["act"](x)
    fuse(holder)
    assert isinstance(holder["act"], torch.nn.GELU)
    torch.testing.assert_close(holder["act"](x), before, atol=2e-6, rtol=1e-6)
    exact = torch.nn.GELU()(x)  # the other GELU is another function
    assert (exact - before).abs().max() > 1e-4


def test_lower_precision_comes_nearer_to_the_formula():
    x = torch.linspace(-6, 6, 4001).bfloat16()
    written, holder = ACT2FN["gelu_new"](x), torch.nn.ModuleDict({"act": ACT2FN["gelu_new"]})
    exact = holder["act"](x.double())
    fuse(holder)
    off = [(y.double() - exact).abs().mean() for y in (holder["act"](x), written)]
    assert off[0] < 0.7 * off[1]


def test_every_block_is_reached_and_other_functions_are_left(gpt2, ids):
    model = GPT2Model(
        GPT2Config(vocab_size=9, n_embd=8, n_layer=2, n_head=2, n_positions=16)
    ).eval()
    ids = ids % 9
    before = model(ids).last_hidden_state
    fuse(model)
    assert all(isinstance(block.mlp.act, torch.nn.GELU) for block in model.h)
    torch.testing.assert_close(model(ids).last_hidden_state, before)
    kept = [block.mlp.act for block in gpt2.transformer.h]  # ReLU
    fuse(gpt2)
    assert [block.mlp.act for block in gpt2.transformer.h] == kept
