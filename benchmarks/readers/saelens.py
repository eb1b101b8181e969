"""SAELens: `ActivationsStore.get_raw_llm_batch`, and its `mixing_buffer`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import repeat

import torch

from readers import BLOCKS, HEADS, POSITIONS, SITE_BLOCK, TOKENS, VOCABULARY, WIDTH, ready, serve


def reading(context: int, dtype: str) -> Callable[[], object]:
    """Its model in float32; for ``bfloat16`` with `autocast_lm`, its own switch for that."""
    from datasets import Dataset
    from sae_lens.training.activations_store import ActivationsStore
    from transformer_lens import HookedTransformer, HookedTransformerConfig

    import readers

    config = HookedTransformerConfig(
        n_layers=BLOCKS, d_model=WIDTH, n_ctx=POSITIONS, d_head=WIDTH // HEADS, n_heads=HEADS,
        d_mlp=4 * WIDTH, d_vocab=VOCABULARY, act_fn="gelu_new", normalization_type="LNPre",
        device="cpu",
    )  # fmt: skip
    model = HookedTransformer(config).eval()
    store = ActivationsStore(
        model=model, dataset=Dataset.from_dict({"tokens": readers.contexts(context).tolist()}),
        streaming=False,
        # The same numbers as the next block's input, for which it would run the next block too.
        hook_name=f"blocks.{SITE_BLOCK - 1}.hook_resid_post", hook_head_index=None,
        context_size=context, d_in=WIDTH, n_batches_in_buffer=64, total_training_tokens=1,
        store_batch_size_prompts=TOKENS // context, train_batch_size_tokens=TOKENS,
        prepend_bos=False, normalize_activations="none", device=torch.device("cpu"),
        dtype="float32", autocast_lm=dtype == "bfloat16",
    )  # fmt: skip
    return store.get_raw_llm_batch


def dealing(size: int, batch: int, dtype: str) -> Iterator[torch.Tensor]:
    from sae_lens.training.mixing_buffer import mixing_buffer

    return mixing_buffer(size, batch, repeat(ready(dtype)))


if __name__ == "__main__":
    serve(reading, dealing)
