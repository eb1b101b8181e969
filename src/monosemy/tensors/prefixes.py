"""Prefixes: which nested parts of a dictionary must reconstruct without the rest."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch

from monosemy.tensors.axes import Int, Tensor
from monosemy.tensors.codes import SparseCode, grouped


@dataclass(frozen=True, eq=False)
class Prefixes:
    """Nested parts of the latents: part ``p`` is the latents whose place is below ``ends[p]``.

    Attributes
    ----------
    ends : where parts end, rising; the last is the whole.
    detached : whether a part short of the whole teaches only the latents that it adds to the part
        before, whose reconstruction is then a constant (and the offset only in the first part). The
        whole always teaches all.
    places : each latent's place in the order that parts are taken from; `None`: its number.
    """

    ends: Int[Tensor, "prefix"]
    detached: bool = False
    places: Int[Tensor, "latent"] | None = None

    def __len__(self) -> int:
        return len(self.ends)

    @cached_property
    def parts(self) -> Int[Tensor, "latent"]:
        """The first part that each latent belongs to, where `places` are given."""
        assert self.places is not None
        return torch.bucketize(self.places, self.ends, right=True)

    def of(self, code: SparseCode) -> Int[Tensor, "active"]:
        """The first part that each entry belongs to."""
        if self.places is None:
            return torch.bucketize(code.indices, self.ends, right=True)
        return self.parts[code.indices]

    def split(self, code: SparseCode) -> tuple[SparseCode, Int[Tensor, "active"] | None]:
        """A row for each token and part, holding what is new in it; and its entries' order.

        The order is `None` where entries stay as they are: latents of a token are stored by number.
        """
        labels = code.rows * len(self) + self.of(code)
        if self.places is None:
            counts = torch.bincount(labels, minlength=code.tokens * len(self))
            offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
            return SparseCode(offsets, code.indices, code.values, code.latents), None
        offsets, order = grouped(labels, code.tokens * len(self))
        return SparseCode(offsets, code.indices[order], code.values[order], code.latents), order
