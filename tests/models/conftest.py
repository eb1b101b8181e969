"""Tiny random models of every family: two layers, a few heads, nothing to download."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers

VOCABULARY = 53
_SMALL = {
    "vocab_size": VOCABULARY,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "max_position_embeddings": 16,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 1,
}
_GROUPED = {**_SMALL, "num_key_value_heads": 2, "head_dim": 8}
_OPT = {
    **_SMALL,
    "ffn_dim": 40,
    "word_embed_proj_dim": 24,
    "activation_function": "relu",
}


def _gpt2() -> transformers.PreTrainedModel:
    config = transformers.GPT2Config(
        vocab_size=VOCABULARY, n_embd=24, n_layer=2, n_head=4, n_inner=40, n_positions=16,
        activation_function="relu", bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    return transformers.GPT2LMHeadModel(config)


def _neox(parallel: bool) -> transformers.PreTrainedModel:
    config = transformers.GPTNeoXConfig(**_SMALL, use_parallel_residual=parallel, hidden_act="gelu")
    return transformers.GPTNeoXForCausalLM(config)


def _opt(pre_norm: bool) -> transformers.PreTrainedModel:
    config = transformers.OPTConfig(**_OPT, do_layer_norm_before=pre_norm)
    if not pre_norm:
        config.word_embed_proj_dim = 16  # OPT-350m embeds in fewer numbers than it computes in
    return transformers.OPTForCausalLM(config)


def _grouped(config: type, model: type) -> transformers.PreTrainedModel:
    return model(config(**_GROUPED))


MAKERS = {
    "gpt2": _gpt2,
    "gpt_neox": lambda: _neox(parallel=True),
    "gpt_neox, sequential": lambda: _neox(parallel=False),
    "llama": lambda: _grouped(transformers.LlamaConfig, transformers.LlamaForCausalLM),
    "mistral": lambda: _grouped(transformers.MistralConfig, transformers.MistralForCausalLM),
    "qwen2": lambda: _grouped(transformers.Qwen2Config, transformers.Qwen2ForCausalLM),
    "qwen3": lambda: _grouped(transformers.Qwen3Config, transformers.Qwen3ForCausalLM),
    "gemma": lambda: _grouped(transformers.GemmaConfig, transformers.GemmaForCausalLM),
    "gemma2": lambda: _grouped(transformers.Gemma2Config, transformers.Gemma2ForCausalLM),
    "gemma3_text": lambda: _grouped(transformers.Gemma3TextConfig, transformers.Gemma3ForCausalLM),
    "opt": lambda: _opt(pre_norm=True),
    "opt, post-norm": lambda: _opt(pre_norm=False),
    "bert": lambda: transformers.BertModel(transformers.BertConfig(**_SMALL)),
}
_MADE: dict[str, transformers.PreTrainedModel] = {}


def _tiny(kind: str) -> transformers.PreTrainedModel:
    """A frozen model of one family, made once, with no weight left at 0 or 1."""
    if kind not in _MADE:
        torch.manual_seed(0)
        model = MAKERS[kind]().eval().requires_grad_(False)
        for parameter in model.parameters():
            # Biases start at 0 and norms at 1: a forgotten one would go unnoticed.
            parameter.add_(0.2 * torch.randn_like(parameter))
        _MADE[kind] = model
    return _MADE[kind]


@pytest.fixture
def tiny() -> Callable[[str], transformers.PreTrainedModel]:
    """Gives the tiny model of a family by its name."""
    return _tiny


@pytest.fixture(params=list(MAKERS))
def kind(request: pytest.FixtureRequest) -> str:
    """Every family and variant in turn."""
    return request.param


@pytest.fixture
def model(kind: str) -> transformers.PreTrainedModel:
    """A tiny model of that family."""
    return _tiny(kind)


@pytest.fixture
def gpt2() -> transformers.PreTrainedModel:
    """A tiny GPT-2."""
    return _tiny("gpt2")


@pytest.fixture
def bert() -> transformers.PreTrainedModel:
    """A tiny BERT."""
    return _tiny("bert")


@pytest.fixture
def ids() -> torch.Tensor:
    """Three contexts of seven tokens."""
    return torch.randint(2, VOCABULARY, (3, 7), generator=torch.Generator().manual_seed(1))


@pytest.fixture
def other_ids() -> torch.Tensor:
    """Three other contexts of seven tokens."""
    return torch.randint(2, VOCABULARY, (3, 7), generator=torch.Generator().manual_seed(2))


@pytest.fixture
def folder(gpt2: transformers.PreTrainedModel, tmp_path: Path) -> Path:
    """A whole model folder: configuration, weights, tokenizer."""
    words = ["<|endoftext|>", "<pad>", *(f"w{i}" for i in range(VOCABULARY - 2))]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|endoftext|>", eos_token="<|endoftext|>"
    )
    gpt2.save_pretrained(tmp_path / "model")
    fast.save_pretrained(tmp_path / "model")
    return tmp_path / "model"
