"""Gains and biases of norms folded into what reads them; means taken out of what writes.

With ``y = n(z) * g + b`` read by ``W y + c``: ``W' = W diag(g)`` and ``c' = c + W b`` read ``n(z)``
itself. ``n`` of a LayerNorm sums to zero, so rows of ``W'`` may be centred too. Where all that writes
into a stream is centred, its mean is zero and LayerNorm is RMSNorm (as in TransformerLens).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from monosemy.foundation.errors import UserError
from monosemy.models.norms import LayerNorm, Norm, replace_norms
from monosemy.tensors.axes import Float, Tensor

_LLAMA = {
    "input_layernorm": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "post_attention_layernorm": ("mlp.gate_proj", "mlp.up_proj"),
}
# Of each family: the list of blocks, norm -> readers inside a block, the last norm. What reads the
# last norm is the model's unembedding.
_READERS: dict[str, tuple[str, dict[str, tuple[str, ...]], str]] = {
    "gpt2": ("h", {"ln_1": ("attn.c_attn",), "ln_2": ("mlp.c_fc",)}, "ln_f"),
    "gpt_neox": ("layers", {"input_layernorm": ("attention.query_key_value",),
                            "post_attention_layernorm": ("mlp.dense_h_to_4h",)},
                 "final_layer_norm"),
    "llama": ("layers", _LLAMA, "norm"),
    "mistral": ("layers", _LLAMA, "norm"),
    "qwen2": ("layers", _LLAMA, "norm"),
}  # fmt: skip
# GPT-2's writers into the stream: embeddings by row, the others by output.
_GPT2_WRITERS = ("attn.c_proj", "mlp.c_proj")


def fold(model: Any) -> int:
    """Fold every norm of a language model into what reads it, in place; returns how many.

    Norms become those of `norms`, without gain and bias. Logits stay the same, to rounding.

    Errors
    ------
    `UserError` for a family whose readers are not known here, such as BERT, whose norms write into
    the stream themselves, so that there is no one to fold them into.
    """
    pairs = list(_pairs(model))
    replace_norms(model)
    for path, readers in pairs:
        fold_into(model.get_submodule(path), [model.get_submodule(reader) for reader in readers])
    return len(pairs)


@torch.no_grad()
def fold_into(norm: Norm, readers: list[nn.Module]) -> None:
    """Fold gain and bias of `norm` into its linear `readers`, in place; both then are gone.

    What reads a LayerNorm is centred as well: the mean that it would read is always zero.
    """
    for reader in readers:
        weight = _inward(reader)
        if norm.bias is not None:
            _add_bias(reader, weight @ norm.bias)
        folded = weight if norm.weight is None else weight * norm.weight
        if isinstance(norm, LayerNorm):
            folded = folded - folded.mean(1, keepdim=True)
        _set_inward(reader, folded)
    norm.weight = norm.bias = None


@torch.no_grad()
def centre_writers(model: Any) -> None:
    """Take the mean over the stream's axes out of all that writes into a GPT-2, in place.

    Logits stay the same, because every reader's norm takes the mean out anyway. LayerNorm and
    RMSNorm then agree.

    Errors
    ------
    `UserError` for other families.
    """
    if model.config.model_type != "gpt2":
        raise UserError(f"writers of {model.config.model_type!r} are not known here; wanted 'gpt2'")
    body = model.base_model
    if model.get_output_embeddings().weight is body.wte.weight:
        _untie(model)
    for table in (body.wte, body.wpe):
        table.weight -= table.weight.mean(1, keepdim=True)
    for block in body.h:
        for path in _GPT2_WRITERS:
            writer = block.get_submodule(path)
            writer.weight -= writer.weight.mean(1, keepdim=True)
            writer.bias -= writer.bias.mean()


def _pairs(model: Any) -> Iterator[tuple[str, list[str]]]:
    """Each norm's path, and those of what reads it; the unembedding is untied first."""
    kind = model.config.model_type
    if kind not in _READERS:
        raise UserError(
            f"norms of a model of type {kind!r} cannot be folded here; known: {', '.join(_READERS)}"
        )
    blocks, inside, last = _READERS[kind]
    head = model.get_output_embeddings()
    if head.weight is model.get_input_embeddings().weight:
        _untie(model)
        head = model.get_output_embeddings()
    body = model.base_model_prefix
    for layer in range(model.config.num_hidden_layers):
        block = f"{body}.{blocks}.{layer}"
        for norm, readers in inside.items():
            yield f"{block}.{norm}", [f"{block}.{reader}" for reader in readers]
    path = next(name for name, module in model.named_modules() if module is head)
    yield f"{body}.{last}", [path]


def _untie(model: Any) -> None:
    head = model.get_output_embeddings()
    head.weight = nn.Parameter(
        head.weight.detach().clone(), requires_grad=head.weight.requires_grad
    )
    model.config.tie_word_embeddings = False


def _inward(reader: Any) -> Float[Tensor, "out width"]:
    """Its weight as (out, width); GPT-2's Conv1D keeps it the other way round."""
    weight: Tensor = reader.weight
    return weight if isinstance(reader, nn.Linear) else weight.T


def _set_inward(reader: Any, weight: Float[Tensor, "out width"]) -> None:
    reader.weight.copy_(weight if isinstance(reader, nn.Linear) else weight.T)


def _add_bias(reader: Any, bias: Float[Tensor, "out"]) -> None:
    if reader.bias is None:
        reader.bias = nn.Parameter(bias.clone(), requires_grad=reader.weight.requires_grad)
    else:
        reader.bias += bias
