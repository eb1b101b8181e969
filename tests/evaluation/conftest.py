"""A tiny random language model, contexts over several documents, and dictionaries of one site."""

import pytest
import torch
import transformers

from monosemy.data.tokens import NOWHERE, Contexts
from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.selection import BatchTopK, TopK
from monosemy.models import sites, tap
from monosemy.models.loading import LoadedModel

VOCABULARY, LENGTH, WIDTH, LATENTS = 37, 8, 24, 40


def draw(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="session")
def loaded() -> LoadedModel:
    """Two layers of GPT-2 with weights large enough that ablating them matters."""
    config = transformers.GPT2Config(
        vocab_size=VOCABULARY, n_embd=16, n_layer=2, n_head=2, n_inner=WIDTH, n_positions=16,
        activation_function="relu", bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.GPT2LMHeadModel(config).eval().requires_grad_(False)
    for i, parameter in enumerate(model.parameters()):
        parameter.add_(0.5 * torch.randn(parameter.shape, generator=draw(i + 200)))
    return LoadedModel("tiny", model, None, "gpt2", 16)


@pytest.fixture(scope="session")
def encoder() -> LoadedModel:
    """A model that does not predict the next token."""
    config = transformers.BertConfig(
        vocab_size=VOCABULARY, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=WIDTH, max_position_embeddings=16,
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.BertModel(config).eval().requires_grad_(False)
    return LoadedModel("tiny bert", model, None, "bert", 16)


@pytest.fixture(scope="session")
def site(loaded):
    return sites.resolve(loaded.model, "blocks.0.mlp.hook_post")


@pytest.fixture(scope="session")
def contexts(loaded) -> Contexts:
    """Five documents of 13 tokens and a beginning token each, cut into windows of eight.

    The model itself wrote them, so that it foresees them, and ablating it hurts.
    """
    documents, each = 5, 14
    ids = torch.randint(1, VOCABULARY, (documents * each,), generator=draw(60))
    document = torch.arange(documents).repeat_interleave(each)
    offset = torch.arange(each).repeat(documents) - 1
    kept = offset != NOWHERE
    ids[~kept] = 0
    missing = -len(ids) % LENGTH
    ids = torch.cat([ids, torch.zeros(missing, dtype=ids.dtype)])
    document = torch.cat([document, torch.full((missing,), documents - 1)])
    offset = torch.cat([offset, torch.full((missing,), NOWHERE)])
    kept = torch.cat([kept, torch.zeros(missing, dtype=torch.bool)])
    ids, document, offset, kept = (c.view(-1, LENGTH) for c in (ids, document, offset, kept))
    for p in range(1, LENGTH):
        probabilities = (6 * loaded.model(ids[:, :p]).logits[:, -1]).softmax(-1)
        written = torch.multinomial(probabilities, 1, generator=draw(61 + p)).squeeze(1)
        ids[:, p] = torch.where(kept[:, p], written, 0)
    return Contexts(ids, document, offset, kept, tuple("abcde"))


@pytest.fixture(scope="session")
def rows(loaded, site, contexts):
    """The kept activations."""
    return tap.read(loaded.model, [site], contexts.ids)[site.name][contexts.kept]


@pytest.fixture
def dictionaries(rows):
    """Two that differ in kind and size."""
    chosen = FlatDictionary.tied(
        torch.nn.functional.normalize(torch.randn(LATENTS, WIDTH, generator=draw(1)), dim=1),
        rows.mean(0), BatchTopK(4),
    )  # fmt: skip
    chosen.selection.threshold.fill_(0.5)
    other = FlatDictionary.random(WIDTH, LATENTS // 2, TopK(3), draw(2))
    return {"batchtopk": chosen.eval(), "topk": other.eval()}
