"""How far the logits of two models lie apart: the proof that a model grew without changing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from monosemy.growth.double import logits
from monosemy.tensors.axes import Int, Tensor

EXACT = 1e-12
"""Largest difference in double precision, as a share of the largest logit, that is rounding."""


@dataclass(frozen=True)
class Difference:
    """The largest difference between logits of two models on the same tokens.

    Attributes
    ----------
    absolute : ``max |a - b|`` over all positions and tokens of the vocabulary.
    largest : ``max |a|``.
    predictions : positions compared.
    """

    absolute: float
    largest: float
    predictions: int

    @property
    def relative(self) -> float:
        """``absolute / largest``."""
        return self.absolute / self.largest if self.largest else self.absolute


def differ(before: Any, after: Any, ids: Int[Tensor, "context position"]) -> Difference:
    """How far the logits of `after` lie from those of `before`, in the precision of the models.

    Models in float64 are run in float64 throughout (see `double.InDouble`).
    """
    absolute = largest = 0.0
    for context in ids.split(1):
        a, b = logits(before, context), logits(after, context)
        absolute = max(absolute, float((a - b).abs().max()))
        largest = max(largest, float(a.abs().max()))
        if not (torch.isfinite(a).all() and torch.isfinite(b).all()):
            absolute = float("inf")
    return Difference(absolute, largest, ids.numel())


def differ_on(
    before: Any, after: Any, contexts: Mapping[str, Int[Tensor, "context position"]]
) -> dict[str, Difference]:
    """`differ` on each kind of tokens."""
    return {name: differ(before, after, ids) for name, ids in contexts.items()}


def worst(found: Mapping[str, Difference]) -> Difference:
    """The one whose relative difference is largest."""
    return max(found.values(), key=lambda one: one.relative)
