"""Embedding and unembedding as two matrices, so that what is read need not be what is written."""

from __future__ import annotations

import copy
from typing import Any

from monosemy.growth.double import build
from monosemy.growth.layout import is_tied


def untied(model: Any) -> Any:
    """The same function with an unembedding of its own; `model` itself where it has one already.

    A new axis that the unembedding reads would otherwise be one that every embedding writes.
    """
    if not is_tied(model):
        return model
    config = copy.deepcopy(model.config)
    config.tie_word_embeddings = False
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    apart = build(type(model), config, None, model.dtype, model.config._attn_implementation)
    head = next(n for n, m in apart.named_modules() if m is apart.get_output_embeddings())
    weights[f"{head}.weight"] = model.get_output_embeddings().weight.detach().clone()
    apart.load_state_dict(weights)
    apart.generation_config = model.generation_config
    return apart.to(model.device)
