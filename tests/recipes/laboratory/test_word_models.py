"""Words inside a model: rows of its embedding, activations on its last token."""

from __future__ import annotations

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from monosemy.foundation.errors import UserError
from monosemy.models import tap
from monosemy.models.loading import LoadedModel
from monosemy.models.sites import resolve
from monosemy.recipes.laboratory.word_models import (
    activation_vectors,
    embedding_vectors,
    words_in,
)

WORDS = ["<s>", "king", "queen", "man", "woman", "3", "x-ray"]


@pytest.fixture(scope="module")
def loaded():
    backend = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<s>")
    )
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", unk_token="<s>")
    config = GPT2Config(vocab_size=len(WORDS), n_positions=8, n_embd=8, n_layer=1, n_head=2)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = GPT2LMHeadModel(config).eval().requires_grad_(False)
    return LoadedModel("tiny", model, tokenizer, "gpt2", 8)


def test_words_of_one_token_have_the_rows_of_the_embedding(loaded):
    found = embedding_vectors(loaded)
    assert found.words == ("king", "queen", "man", "woman")
    assert torch.equal(found.values, loaded.model.get_input_embeddings().weight[1:5])


def test_activations_are_those_of_the_last_token(loaded):
    site = "blocks.0.hook_resid_post"
    found = activation_vectors(loaded, site, ["king", "man queen", "woman"], centre=False)
    ids = torch.tensor([[3, 2]])
    wanted = tap.read(loaded.model, [resolve(loaded.model, site)], ids)[site][0, 1]
    torch.testing.assert_close(found.values[1], wanted)
    centred = activation_vectors(loaded, site, ["king", "man queen", "woman"])
    torch.testing.assert_close(centred.values, found.values - found.values.mean(0))


def test_a_vocabulary_without_words_is_refused(loaded, monkeypatch):
    monkeypatch.setattr(loaded.tokenizer, "batch_decode", lambda ids: ["1"] * len(ids))
    with pytest.raises(UserError, match="tiny has 0 words that are one token"):
        embedding_vectors(loaded)


def test_words_of_a_file(tmp_path):
    path = tmp_path / "questions.txt"
    path.write_text(": family\nman woman king queen\nman woman boy girl\n")
    assert words_in(path) == ["boy", "girl", "king", "man", "queen", "woman"]
    with pytest.raises(UserError, match="is no file"):
        words_in(tmp_path / "absent.txt")
