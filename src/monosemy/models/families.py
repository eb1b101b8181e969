"""Where the named places of each model family lie: one table entry a family.

What the names mean is said in `sites`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Family:
    """Where the named places of one family of models lie, in the order in which they are computed.

    A place is a module path, from the model's body before and after the blocks, from the block
    inside it (empty: the block itself). It means the module's output; with ``:input`` what enters
    the module; with ``:residual`` the same, where the block goes on to use that very tensor as its
    residual stream.
    """

    blocks: str
    before: Mapping[str, str]
    block: Mapping[str, str]
    after: Mapping[str, str]


_GPT2 = Family(
    blocks="h",
    before={"hook_embed": "wte", "hook_pos_embed": "wpe"},
    block={
        "hook_resid_pre": ":input",
        "attn.hook_z": "attn.c_proj:input",
        "hook_attn_out": "attn",
        "hook_resid_mid": "ln_2:residual",
        "mlp.hook_in": "mlp:input",
        "mlp.hook_pre": "mlp.c_fc",
        "mlp.hook_post": "mlp.c_proj:input",
        "hook_mlp_out": "mlp",
        "hook_resid_post": "",
    },
    after={"ln_final": "ln_f"},
)
_NEOX_SEQUENTIAL = Family(
    blocks="layers",
    before={"hook_embed": "embed_in"},
    block={
        "hook_resid_pre": ":input",
        "attn.hook_z": "attention.dense:input",
        "hook_attn_out": "attention",
        "hook_resid_mid": "post_attention_layernorm:residual",
        "mlp.hook_in": "mlp:input",
        "mlp.hook_pre": "mlp.dense_h_to_4h",
        "mlp.hook_post": "mlp.dense_4h_to_h:input",
        "hook_mlp_out": "mlp",
        "hook_resid_post": "",
    },
    after={"ln_final": "final_layer_norm"},
)
_NEOX_PARALLEL = replace(
    _NEOX_SEQUENTIAL,
    block={k: v for k, v in _NEOX_SEQUENTIAL.block.items() if k != "hook_resid_mid"},
)
_LLAMA = Family(
    blocks="layers",
    before={"hook_embed": "embed_tokens"},
    block={
        "hook_resid_pre": ":input",
        "attn.hook_z": "self_attn.o_proj:input",
        "hook_attn_out": "self_attn",
        "hook_resid_mid": "post_attention_layernorm:residual",
        "mlp.hook_in": "mlp:input",
        "mlp.hook_pre": "mlp.gate_proj",
        "mlp.hook_pre_linear": "mlp.up_proj",
        "mlp.hook_post": "mlp.down_proj:input",
        "hook_mlp_out": "mlp",
        "hook_resid_post": "",
    },
    after={"ln_final": "norm"},
)
# Gemma scales its embedding by sqrt(width); which module does so differs between versions of
# transformers, but the first block always reads the scaled one.
_GEMMA = replace(_LLAMA, before={"hook_embed": "layers.0:input"})
_GEMMA2 = replace(
    _GEMMA,
    block={
        **_LLAMA.block,
        "hook_attn_out": "post_attention_layernorm",
        "hook_resid_mid": "pre_feedforward_layernorm:residual",
        "hook_mlp_out": "post_feedforward_layernorm",
    },
)
_OPT = Family(
    blocks="decoder.layers",
    before={"hook_embed": "decoder.embed_tokens", "hook_pos_embed": "decoder.embed_positions"},
    block={
        "hook_resid_pre": ":input",
        "attn.hook_z": "self_attn.out_proj:input",
        "hook_attn_out": "self_attn",
        "hook_resid_mid": "final_layer_norm:residual",
        "mlp.hook_in": "fc1:input",
        "mlp.hook_pre": "fc1",
        "mlp.hook_post": "fc2:input",
        "hook_mlp_out": "fc2",
        "hook_resid_post": "",
    },
    after={"ln_final": "decoder.final_layer_norm"},
)
_OPT_POST_NORM = replace(
    _OPT,
    block={
        **_OPT.block,
        "hook_resid_mid": "self_attn_layer_norm:input",
        "hook_resid_post": "final_layer_norm:input",
        "hook_normalized_resid_post": "",
    },
    after={},
)
_BERT = Family(
    blocks="encoder.layer",
    before={
        "hook_embed": "embeddings.word_embeddings",
        "hook_pos_embed": "embeddings.position_embeddings",
        "hook_full_embed": "embeddings",
    },
    block={
        "hook_resid_pre": ":input",
        "attn.hook_z": "attention.output.dense:input",
        "hook_attn_out": "attention.output.dense",
        "hook_resid_mid": "attention.output.LayerNorm:input",
        "mlp.hook_in": "intermediate.dense:input",
        "mlp.hook_pre": "intermediate.dense",
        "mlp.hook_post": "output.dense:input",
        "hook_mlp_out": "output.dense",
        "hook_resid_post": "output.LayerNorm:input",
        "hook_normalized_resid_post": "",
    },
    after={},
)
FAMILIES: dict[str, Family] = {
    "gpt2": _GPT2,
    "gpt_neox": _NEOX_PARALLEL,
    "gpt_neox, sequential": _NEOX_SEQUENTIAL,
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
    "gemma": _GEMMA,
    "gemma2": _GEMMA2,
    "gemma3_text": _GEMMA2,
    "opt": _OPT,
    "opt, post-norm": _OPT_POST_NORM,
    "bert": _BERT,
}
"""By the model type of the configuration, and what sets a variant apart."""
