"""Where the matrices of each model family lie, and what its configuration can say of sizes.

Names of matrices are the same for all families: ``q``, ``k``, ``v`` and ``o`` of attention, ``gate``
(of gated MLPs), ``up`` and ``down``, and norms by where they stand. Embeddings and positions write
the stream, as ``o`` and ``down`` do; ``head`` reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

READS_WRITES = ("q", "k", "v", "o", "gate", "up", "down")
"""Matrices of a block."""
NORMS = ("before attention", "after attention", "before mlp", "after mlp")
"""Norms of the stream in a block; those *after* a module stand between its writer and the stream."""
HEAD_NORMS = ("q norm", "k norm")
"""Norms over the numbers of one head."""


@dataclass(frozen=True)
class Family:
    """One family of models: names of its parameters, and what is special about it.

    Attributes
    ----------
    blocks, embed, position, final : module paths below the model's body; ``position`` and ``final``
        may be empty.
    inside : path below a block, by the names of this module.
    fused : how ``q``, ``k`` and ``v`` share one matrix: ``columns`` (one after another), ``heads``
        (head by head), or not at all.
    transposed : whether weights are kept as (in, out), as GPT-2 does.
    centres : whether norms take out the mean (LayerNorm).
    offset : what is added to a stored gain (Gemma keeps ``gain - 1``).
    eps : the key of the norms' epsilon, or empty where it cannot change with the width: no such key,
        or one that norms of other widths share. The stream is scaled instead.
    inner : the key of the MLP's inner width.
    tied : whether a head's width is the stream's divided by the number of heads.
    rotary : ``all`` pairs of a head turn, those of a ``part`` do, or none.
    scaled_embedding : whether embeddings are multiplied by the square root of the width.
    fixed_scale : whether attention scores are divided by a number of their own
        (``query_pre_attn_scalar``) or by none, not by the root of a head's width.
    """

    blocks: str
    embed: str
    final: str
    inside: Mapping[str, str]
    position: str = ""
    fused: str = ""
    transposed: bool = False
    centres: bool = False
    offset: float = 0.0
    eps: str = ""
    inner: str = "intermediate_size"
    tied: bool = False
    rotary: str = ""
    scaled_embedding: bool = False
    fixed_scale: bool = False

    @property
    def norms_heads(self) -> bool:
        """Whether queries and keys are normalised head by head."""
        return "q norm" in self.inside

    @property
    def norms_writers(self) -> bool:
        """Whether what a block's modules write is normalised before it is added."""
        return "after mlp" in self.inside


_GPT2 = Family(
    blocks="h", embed="wte", position="wpe", final="ln_f",
    inside={"before attention": "ln_1", "qkv": "attn.c_attn", "o": "attn.c_proj",
            "before mlp": "ln_2", "up": "mlp.c_fc", "down": "mlp.c_proj"},
    fused="columns", transposed=True, centres=True, eps="layer_norm_epsilon", inner="n_inner",
    tied=True,
)  # fmt: skip
_NEOX = Family(
    blocks="layers", embed="embed_in", final="final_layer_norm",
    inside={"before attention": "input_layernorm", "qkv": "attention.query_key_value",
            "o": "attention.dense", "before mlp": "post_attention_layernorm",
            "up": "mlp.dense_h_to_4h", "down": "mlp.dense_4h_to_h"},
    fused="heads", centres=True, eps="layer_norm_eps", tied=True, rotary="part",
)  # fmt: skip
_LLAMA = Family(
    blocks="layers", embed="embed_tokens", final="norm",
    inside={"before attention": "input_layernorm", "q": "self_attn.q_proj", "k": "self_attn.k_proj",
            "v": "self_attn.v_proj", "o": "self_attn.o_proj",
            "before mlp": "post_attention_layernorm", "gate": "mlp.gate_proj", "up": "mlp.up_proj",
            "down": "mlp.down_proj"},
    eps="rms_norm_eps", rotary="all",
)  # fmt: skip
_HEADS = {"q norm": "self_attn.q_norm", "k norm": "self_attn.k_norm"}
_GEMMA = replace(_LLAMA, offset=1.0, eps="", scaled_embedding=True)
_GEMMA2 = replace(
    _GEMMA,
    inside={**_LLAMA.inside, "after attention": "post_attention_layernorm",
            "before mlp": "pre_feedforward_layernorm", "after mlp": "post_feedforward_layernorm"},
    fixed_scale=True,
)  # fmt: skip
_OPT = Family(
    blocks="decoder.layers", embed="decoder.embed_tokens", position="decoder.embed_positions",
    final="decoder.final_layer_norm",
    inside={"before attention": "self_attn_layer_norm", "q": "self_attn.q_proj",
            "k": "self_attn.k_proj", "v": "self_attn.v_proj", "o": "self_attn.out_proj",
            "before mlp": "final_layer_norm", "up": "fc1", "down": "fc2"},
    centres=True, inner="ffn_dim", tied=True,
)  # fmt: skip
FAMILIES: dict[str, Family] = {
    "gpt2": _GPT2,
    "gpt_neox": _NEOX,
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": replace(_LLAMA, inside={**_LLAMA.inside, **_HEADS}, eps=""),
    "gemma": _GEMMA,
    "gemma2": _GEMMA2,
    "gemma3_text": replace(_GEMMA2, inside={**_GEMMA2.inside, **_HEADS}),
    "opt": _OPT,
}
"""By the model type of the configuration."""


def family_of(config: Any) -> Family | None:
    """The family of a configuration, or `None` for one that is not known here."""
    family = FAMILIES.get(config.model_type)
    if family is None or getattr(config, "scale_attn_weights", True):
        return family
    return replace(family, fixed_scale=True)
