"""Folding changes no logit, in double precision to 1e-12; leaving a step out does."""

from __future__ import annotations

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, GPTNeoXConfig, GPTNeoXForCausalLM

from monosemy.foundation.errors import UserError
from monosemy.models.folding import centre_writers, fold, fold_into
from monosemy.models.loading import load
from monosemy.models.norms import LayerNorm, Norm, RMSNorm, replace_norms

EXACT = 1e-12


def logits(model):
    ids = torch.arange(3, 43).view(2, 20) % model.config.vocab_size
    with torch.no_grad():
        return model(ids).logits


def off(model, before):
    """Largest difference, as a share of the largest logit."""
    return float((logits(model) - before).abs().max() / before.abs().max())


def gpt2(tied=True):
    config = GPT2Config(vocab_size=50, n_positions=32, n_embd=16, n_layer=2, n_head=2,
                        tie_word_embeddings=tied)  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = GPT2LMHeadModel(config).double().eval()
        return shaken(model)


def shaken(model):
    """Gains and biases that a fold could get wrong."""
    for module in model.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.weight.data.uniform_(0.5, 2.0)
            module.bias.data.uniform_(-1.0, 1.0)
    return model


def test_one_norm_and_one_reader_by_hand():
    draw = torch.Generator().manual_seed(0)
    norm, reader = LayerNorm(8).double(), torch.nn.Linear(8, 5).double()
    norm.weight.data = torch.rand(8, generator=draw).double() + 0.5
    norm.bias.data = torch.randn(8, generator=draw).double()
    z = torch.randn(20, 8, generator=draw).double()
    before = reader(norm(z))
    fold_into(norm, [reader])
    assert norm.weight is None
    assert norm.bias is None
    assert (reader(norm(z)) - before).abs().max() < EXACT
    # Its rows are centred, and so deaf to a mean.
    assert reader.weight.sum(1).abs().max() < EXACT


def test_the_specimen_folds_exactly():
    model = load("specimen").model.double()
    before = logits(model)
    assert fold(model) == 3
    assert off(model, before) < EXACT
    assert all(m.weight is None for m in model.modules() if isinstance(m, Norm))


def test_a_tied_unembedding_is_untied_first():
    model = gpt2()
    before = logits(model)
    fold(model)
    assert off(model, before) < EXACT
    assert model.lm_head.weight is not model.transformer.wte.weight


def test_parallel_blocks_fold_exactly():
    config = GPTNeoXConfig(vocab_size=50, hidden_size=16, num_hidden_layers=2, intermediate_size=32,
                           num_attention_heads=2, max_position_embeddings=32)  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = shaken(GPTNeoXForCausalLM(config).double().eval())
    before = logits(model)
    assert fold(model) == 5
    assert off(model, before) < EXACT


def test_a_real_llama_folds_exactly(shared_data):
    model = load(shared_data / "models" / "stories260K").model.double()
    replace_norms(model)  # theirs rounds to float32 inside
    before = logits(model)
    assert fold(model) == 11
    assert off(model, before) < EXACT


def test_a_fold_that_forgets_the_bias_is_found():
    model = gpt2()
    before = logits(model)
    replace_norms(model)
    fold_into(model.transformer.h[0].ln_1, [model.transformer.h[0].attn.c_attn])
    assert off(model, before) < EXACT
    model.transformer.h[0].ln_2.bias = None
    assert off(model, before) > 1e-4


def test_centred_writers_make_layer_norm_and_rms_norm_agree():
    for model in (gpt2(), load("specimen").model.double()):
        before = logits(model)
        centre_writers(model)
        assert off(model, before) < EXACT
        fold(model)
        for parent in list(model.modules()):
            for name, child in parent.named_children():
                if isinstance(child, LayerNorm):
                    bare = RMSNorm(child.width, child.eps)
                    bare.weight = None
                    setattr(parent, name, bare)
        assert off(model, before) < EXACT


def test_without_centring_they_disagree():
    model = gpt2()
    before = logits(model)
    replace_norms(model, "rmsnorm", bias=True)
    assert off(model, before) > 1e-3


def test_families_whose_norms_write_are_refused(shared_data):
    model = load(shared_data / "models" / "minilm-l6").model
    with pytest.raises(UserError, match="norms of a model of type 'bert' cannot be folded here"):
        fold(model)
    with pytest.raises(UserError, match="writers of 'bert' are not known here"):
        centre_writers(model)
