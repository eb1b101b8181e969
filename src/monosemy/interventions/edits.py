"""Edits: small final values that replace an activation. Each states what it assumes.

All map an activation to a new one of the same shape, dtype and device (`models.tap.Edit`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from monosemy.dictionaries.base import Dictionary
from monosemy.models.tap import Edit
from monosemy.tensors.axes import Bool, Float, Tensor

# Entries of the token-by-latent matrix that an encoder holds at once: 128 MiB in float32.
_ENTRIES = 1 << 25

__all__ = ["Edit", "MeanAblate", "Only", "Patch", "Splice", "ZeroAblate", "chunks"]


@dataclass(frozen=True)
class ZeroAblate:
    """``x -> 0``.

    Assumes that zero means "nothing to say". Where activations lie far from the origin it takes
    their mean away too and overstates the harm; `MeanAblate` does not.
    """

    def __call__(
        self, activation: Float[Tensor, "context position width"]
    ) -> Float[Tensor, "context position width"]:
        """Zeros."""
        return torch.zeros_like(activation)


@dataclass(frozen=True, eq=False)
class MeanAblate:
    """``x -> mean``: what tells one token from another is gone, the offset stays.

    Assumes that `mean` was taken over text like the text it is used on.
    """

    mean: Float[Tensor, "width"]

    def __call__(
        self, activation: Float[Tensor, "context position width"]
    ) -> Float[Tensor, "context position width"]:
        """The mean at every position."""
        return self.mean.to(activation).expand_as(activation).clone()


@dataclass(frozen=True, eq=False)
class Patch:
    """``x -> values``, whatever `x` was.

    Assumes that `values` belong to the same contexts and positions.
    """

    values: Float[Tensor, "context position width"]

    def __call__(
        self, activation: Float[Tensor, "context position width"]
    ) -> Float[Tensor, "context position width"]:
        """The given values."""
        return self.values.to(activation)


@dataclass(frozen=True, eq=False)
class Splice:
    """``x -> x̂``: the dictionary's reconstruction takes the activation's place.

    Assumes that the dictionary was trained on this site. Works in the dictionary's own dtype and
    hands back the model's. In evaluation mode tokens go through in chunks, so that memory stays
    bounded; while training all at once, because BatchTopK then chooses over the batch.
    """

    dictionary: Dictionary

    def __call__(
        self, activation: Float[Tensor, "context position width"]
    ) -> Float[Tensor, "context position width"]:
        """The reconstruction."""
        rows = activation.flatten(0, 1).to(self.dictionary.b_dec.dtype)
        if self.dictionary.training:
            return self.dictionary(rows).to(activation).view_as(activation)
        parts = [self.dictionary(part) for part in chunks(rows, self.dictionary.latents)]
        return torch.cat(parts).to(activation).view_as(activation)


@dataclass(frozen=True, eq=False)
class Only:
    """`edit` where `kept` is true; the clean value everywhere else.

    Assumes that what is left out (beginning-of-document and padding tokens, whose activations a
    dictionary never saw) should reach the model as it was.
    """

    edit: Edit
    kept: Bool[Tensor, "context position"]

    def __call__(
        self, activation: Float[Tensor, "context position width"]
    ) -> Float[Tensor, "context position width"]:
        """The edit at kept positions."""
        return torch.where(self.kept[..., None], self.edit(activation), activation)


def chunks(rows: Tensor, latents: int) -> tuple[Tensor, ...]:
    """`rows`, one a token, in parts whose float32 pre-activations stay within 128 MiB."""
    return rows.split(max(1, _ENTRIES // latents))
