"""Ours: `LiveSource.rows`, and `ActivationStream` over rows that are ready."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import cycle

import torch

from readers import BLOCKS, HEADS, POSITIONS, SITE_BLOCK, TOKENS, VOCABULARY, WIDTH, ready, serve


def loaded(dtype: str):
    from transformers import GPT2Config, GPT2LMHeadModel

    from monosemy.models.loading import LoadedModel, reinitialised, without_notices

    config = GPT2Config(
        vocab_size=VOCABULARY, n_positions=POSITIONS, n_embd=WIDTH, n_layer=BLOCKS, n_head=HEADS,
        bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    with without_notices():
        model = GPT2LMHeadModel(config).to(getattr(torch, dtype))
    # Through the door by which every model comes: frozen, fused.
    return reinitialised(LoadedModel("random", model, None, "gpt2", POSITIONS), 0)


def reading(context: int, dtype: str) -> Callable[[], object]:
    import readers
    from monosemy.data.capture import LiveSource
    from monosemy.data.tokens import Contexts
    from monosemy.models.sites import resolve

    model = loaded(dtype)
    ids = readers.contexts(context)
    packed = Contexts(
        ids, torch.zeros_like(ids), torch.ones_like(ids), torch.ones_like(ids).bool(), ("random",)
    )
    source = LiveSource(model, resolve(model.model, f"blocks.{SITE_BLOCK}.hook_resid_pre"), packed)
    starts = cycle(range(0, source.tokens, TOKENS))

    def call() -> torch.Tensor:
        start = next(starts)
        return source.rows(start, start + TOKENS)

    return call


class Ready:
    """A source that has its rows."""

    site, waits_for, width, fingerprint, contexts = "ready", "input", WIDTH, "ready", None

    def __init__(self, tokens: int, dtype: str):
        self.kept = ready(dtype)
        self.tokens, self.dtype = tokens, self.kept.dtype

    def rows(self, start: int, stop: int) -> torch.Tensor:
        """As many rows, always the same."""
        return self.kept[: stop - start]


def dealing(size: int, batch: int, dtype: str) -> Iterator[torch.Tensor]:
    from monosemy.data.streams import ActivationStream
    from monosemy.tensors.compute import Compute

    source = Ready(8 * size, dtype)
    return ActivationStream(source, batch, Compute(), epochs=None, block=size, overlap=False)


if __name__ == "__main__":
    serve(reading, dealing)
