"""The unembedding gets a matrix of its own, and nothing else changes."""

import torch

from monosemy.growth.double import logits
from monosemy.growth.layout import is_tied
from monosemy.growth.untie import untied


def test_the_same_logits_from_two_matrices(tiny):
    model = tiny("llama")
    apart = untied(model)
    ids = torch.arange(12)[None]
    assert is_tied(model)
    assert not is_tied(apart)
    assert torch.equal(logits(model, ids), logits(apart, ids))
    with torch.no_grad():
        apart.get_output_embeddings().weight.zero_()
    assert apart.get_input_embeddings().weight.detach().abs().max() > 0
    assert is_tied(model)


def test_a_model_with_two_matrices_is_left_alone(tiny):
    model = tiny("mistral")
    assert untied(model) is model
