"""Tiny random models of every family that grows, with no weight left at 0 or 1."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers

from monosemy.growth.double import in_double

VOCABULARY = 41
_SMALL: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 20,
    "max_position_embeddings": 16,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 1,
    "initializer_range": 0.2,
}
_GROUPED = {**_SMALL, "num_key_value_heads": 2, "head_dim": 8}
_OPT = {"ffn_dim": 20, "word_embed_proj_dim": 24, "init_std": 0.2, "activation_function": "relu"}


def _gpt2(**more: Any) -> transformers.PreTrainedModel:
    config = transformers.GPT2Config(
        vocab_size=VOCABULARY, n_embd=24, n_layer=2, n_head=4, n_positions=16, initializer_range=0.2,
        bos_token_id=0, eos_token_id=0, **more,
    )  # fmt: skip
    return transformers.GPT2LMHeadModel(config)


def _neox(**more: Any) -> transformers.PreTrainedModel:
    return transformers.GPTNeoXForCausalLM(transformers.GPTNeoXConfig(**_SMALL, **more))


def _opt(**more: Any) -> transformers.PreTrainedModel:
    small = {k: v for k, v in _SMALL.items() if k not in ("intermediate_size", "initializer_range")}
    return transformers.OPTForCausalLM(transformers.OPTConfig(**{**small, **_OPT, **more}))


def _grouped(name: str, **more: Any) -> transformers.PreTrainedModel:
    config = getattr(transformers, f"{name}Config")
    kind = getattr(transformers, f"{name.removesuffix('Text')}ForCausalLM")
    return kind(config(**_GROUPED, **more))


MAKERS: dict[str, Callable[[], transformers.PreTrainedModel]] = {
    "gpt2": _gpt2,
    "gpt2, untied": lambda: _gpt2(tie_word_embeddings=False, n_inner=20),
    "gpt2, scores not divided": lambda: _gpt2(
        scale_attn_weights=False, scale_attn_by_inverse_layer_idx=True
    ),
    "gpt_neox": _neox,
    "gpt_neox, sequential, tied": lambda: _neox(
        use_parallel_residual=False, tie_word_embeddings=True
    ),
    "llama": lambda: _grouped("Llama", tie_word_embeddings=True),
    "llama, untied, biases": lambda: _grouped("Llama", attention_bias=True, mlp_bias=True),
    "mistral": lambda: _grouped("Mistral"),
    "qwen2": lambda: _grouped("Qwen2"),
    "qwen3": lambda: _grouped("Qwen3"),
    "gemma": lambda: _grouped("Gemma"),
    "gemma, untied": lambda: _grouped("Gemma", tie_word_embeddings=False),
    "gemma2": lambda: _grouped("Gemma2", query_pre_attn_scalar=12, final_logit_softcapping=5.0),
    "gemma3": lambda: _grouped("Gemma3Text"),
    "opt": _opt,
    "opt, untied": lambda: _opt(tie_word_embeddings=False),
    "opt, no biases": lambda: _opt(enable_bias=False),
}
_MADE: dict[str, Any] = {}


def _tiny(kind: str) -> Any:
    if kind not in _MADE:
        torch.manual_seed(0)
        model = MAKERS[kind]().eval().requires_grad_(False)
        for parameter in model.parameters():
            # Biases start at 0 and gains at 1: a forgotten one would go unnoticed.
            parameter.add_(0.2 * torch.randn_like(parameter))
        _MADE[kind] = in_double(model)
    return _MADE[kind]


@pytest.fixture
def tiny() -> Callable[[str], Any]:
    """Gives the tiny model of a family by its name, in double precision."""
    return _tiny


@pytest.fixture(params=list(MAKERS))
def kind(request: pytest.FixtureRequest) -> str:
    """Every family and variant in turn."""
    return request.param


@pytest.fixture
def model(kind: str) -> Any:
    """A tiny model of that family."""
    return _tiny(kind)


@pytest.fixture
def ids() -> torch.Tensor:
    """Three contexts of twelve tokens."""
    return torch.randint(2, VOCABULARY, (3, 12), generator=torch.Generator().manual_seed(1))
