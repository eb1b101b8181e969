"""Fewer tokens of more documents: contexts taken evenly from a long text, with their labels."""

from __future__ import annotations

from dataclasses import replace

import torch

from monosemy.data.labels.labelling import Labels
from monosemy.data.tokens import Contexts
from monosemy.tensors.axes import Bool, Tensor


def spread(contexts: Contexts, labels: Labels, tokens: int) -> tuple[Contexts, Labels]:
    """About `tokens` of the kept tokens, in contexts that lie evenly over all, and their labels.

    The first so many tokens would be a few documents, and an interval over documents would have
    nothing to draw from. Labels are made before, because a token's text ends where the next one
    begins.
    """
    fewer, left = evenly(contexts, tokens)
    if fewer is contexts:
        return contexts, labels
    place = left.cumsum(0) - 1
    taken = left[labels.rows]
    columns = {name: getattr(labels, name)[taken] for name in ("parent", "child", "document")}
    return fewer, replace(labels, rows=place[labels.rows[taken]], **columns)


def evenly(contexts: Contexts, tokens: int) -> tuple[Contexts, Bool[Tensor, "token"]]:
    """Contexts of about `tokens` kept tokens that lie evenly over all; which kept tokens are left."""
    wanted = max(1, round(len(contexts) * tokens / max(contexts.tokens, 1)))
    if wanted >= len(contexts):
        return contexts, torch.ones(contexts.tokens, dtype=torch.bool)
    chosen = torch.arange(wanted) * len(contexts) // wanted
    fewer = Contexts(
        contexts.ids[chosen], contexts.document[chosen], contexts.offset[chosen],
        contexts.kept[chosen], contexts.documents, contexts.origin,
    )  # fmt: skip
    inside = torch.zeros(len(contexts), dtype=torch.bool)
    inside[chosen] = True
    return fewer, inside[:, None].expand_as(contexts.kept)[contexts.kept]
