"""A tiny random language model and a few contexts."""

import pytest
import torch
import transformers

from monosemy.models import sites

VOCABULARY = 37


def draw(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="session")
def model():
    """Two layers of GPT-2 with weights large enough that ablating them matters."""
    config = transformers.GPT2Config(
        vocab_size=VOCABULARY, n_embd=16, n_layer=2, n_head=2, n_inner=24, n_positions=16,
        activation_function="relu", bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    made = transformers.GPT2LMHeadModel(config).eval().requires_grad_(False)
    for i, parameter in enumerate(made.parameters()):
        parameter.add_(0.3 * torch.randn(parameter.shape, generator=draw(i)))
    return made


@pytest.fixture
def site(model):
    return sites.resolve(model, "blocks.0.mlp.hook_post")


@pytest.fixture
def ids():
    return torch.randint(1, VOCABULARY, (3, 8), generator=draw(50))


@pytest.fixture
def kept():
    """Beginnings of documents in two places, and padding at the end."""
    kept = torch.ones(3, 8, dtype=torch.bool)
    kept[0, 0] = kept[1, 4] = False
    kept[2, 6:] = False
    return kept
