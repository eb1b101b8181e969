"""SparseCode: which latents are active on each token, and how much."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.util import find_spec
from itertools import accumulate

import numpy as np
import torch

from monosemy.foundation.errors import UserError
from monosemy.tensors.axes import Bool, Float, Int, Tensor


@dataclass(frozen=True, eq=False)
class SparseCode:
    """A token-by-latent matrix in compressed sparse rows (CSR).

    Token ``t`` has the latents ``indices[offsets[t]:offsets[t+1]]`` with the values at the same
    places. Values are differentiable where the dictionary that made them was training.

    Attributes
    ----------
    offsets : where each token's entries begin, and the end of the last; int64.
    indices : active latents, token by token; int64.
    values : activations, in the units of the dictionary's code.
    latents : size of the dictionary (m).
    """

    offsets: Int[Tensor, "bounds"]
    indices: Int[Tensor, "active"]
    values: Float[Tensor, "active"]
    latents: int

    @property
    def tokens(self) -> int:
        """How many tokens (rows) there are."""
        return len(self.offsets) - 1

    @property
    def counts(self) -> Int[Tensor, "token"]:
        """Entries of each token: its L0, where no stored value is zero."""
        return self.offsets.diff()

    @cached_property
    def rows(self) -> Int[Tensor, "active"]:
        """The token of each entry."""
        numbers = torch.arange(self.tokens, device=self.offsets.device)
        return numbers.repeat_interleave(self.counts, output_size=len(self.indices))

    @cached_property
    def by_latent(self) -> tuple[Int[Tensor, "bounds"], Int[Tensor, "active"]]:
        """The transpose: where each latent's entries begin, and the entries in order of latent.

        Within a latent, entries stay in token order, so that sums over them repeat exactly.
        """
        return grouped(self.indices, self.latents)

    def dense(self) -> Float[Tensor, "token latent"]:
        """The same code with its zeros written out."""
        full = self.values.new_zeros(self.tokens, self.latents)
        # Accumulated, because a code may hold entries of value zero more than once.
        return full.index_put((self.rows, self.indices), self.values, accumulate=True)

    def with_values(self, values: Float[Tensor, "active"]) -> SparseCode:
        """The same support with other values; what was derived from the support comes along."""
        other = SparseCode(self.offsets, self.indices, values, self.latents)
        for name in ("rows", "by_latent"):
            if name in self.__dict__:
                other.__dict__[name] = self.__dict__[name]
        return other

    def detach(self) -> SparseCode:
        """The same code outside the gradient."""
        return self.with_values(self.values.detach())

    def to(self, device: str | torch.device) -> SparseCode:
        """The same code on another device."""
        offsets, indices = self.offsets.to(device), self.indices.to(device)
        return SparseCode(offsets, indices, self.values.to(device), self.latents)

    def __getitem__(self, tokens: slice) -> SparseCode:
        start, stop, step = tokens.indices(self.tokens)
        if step != 1:
            raise UserError(f"a sparse code is sliced in steps of 1, not {step}")
        first, last = int(self.offsets[start]), int(self.offsets[max(start, stop)])
        bounds = self.offsets[start : max(start, stop) + 1] - first
        return SparseCode(bounds, self.indices[first:last], self.values[first:last], self.latents)

    def keep(self, chosen: Bool[Tensor, "active"]) -> SparseCode:
        """Only the entries that are `chosen`."""
        bounds = _bounds(torch.bincount(self.rows[chosen], minlength=self.tokens))
        return SparseCode(bounds, self.indices[chosen], self.values[chosen], self.latents)

    def columns(self, first: int, last: int) -> SparseCode:
        """The latents `first` to `last` alone, numbered from zero."""
        part = self.keep((self.indices >= first) & (self.indices < last))
        return SparseCode(part.offsets, part.indices - first, part.values, last - first)

    def split(self, sizes: Sequence[int]) -> list[SparseCode]:
        """The first ``sizes[0]`` latents alone, the next ``sizes[1]``, ...: undoes `side_by_side`."""
        ends = torch.tensor(list(accumulate(sizes)), device=self.indices.device)
        bounds, order = grouped(torch.bucketize(self.indices, ends, right=True), len(sizes))
        # One gather for all parts; each is then a slice.
        rows, indices, values = self.rows[order], self.indices[order], self.values[order]
        edges, parts, first = bounds.tolist(), [], 0
        for begin, end, size in zip(edges, edges[1:], sizes, strict=False):
            offsets = _bounds(torch.bincount(rows[begin:end], minlength=self.tokens))
            parts.append(SparseCode(offsets, indices[begin:end] - first, values[begin:end], size))
            first += size
        return parts

    @classmethod
    def side_by_side(cls, codes: Sequence[SparseCode]) -> SparseCode:
        """Codes of the same tokens as one: the latents of each follow those before it."""
        offsets = torch.stack([code.offsets for code in codes]).sum(0)
        order = torch.empty_like(torch.cat([code.indices for code in codes]))
        counts, done, moved, latents = torch.zeros_like(offsets[1:]), 0, [], 0
        for code in codes:
            entries = torch.arange(len(code.indices), device=offsets.device)
            # Each entry goes behind those that earlier codes and its own code have in its token.
            place = (offsets[:-1] + counts - code.offsets[:-1])[code.rows] + entries
            order[place] = entries + done
            counts, done = counts + code.counts, done + len(entries)
            moved.append(code.indices + latents)
            latents += code.latents
        values = torch.cat([code.values for code in codes])
        return cls(offsets, torch.cat(moved)[order], values[order], latents)

    @classmethod
    def stacked(cls, codes: Sequence[SparseCode]) -> SparseCode:
        """Codes of the same latents as one: the tokens of each follow those before it."""
        indices, values = (
            torch.cat([getattr(code, name) for code in codes]) for name in ("indices", "values")
        )
        counts = torch.cat([code.counts for code in codes])
        return cls(_bounds(counts), indices, values, codes[0].latents)

    @classmethod
    def from_dense(cls, full: Float[Tensor, "token latent"]) -> SparseCode:
        """Keep the entries that are not zero."""
        return cls.from_mask(full != 0, full)

    @classmethod
    def from_mask(cls, mask: Tensor, full: Float[Tensor, "token latent"]) -> SparseCode:
        """Keep the entries of `full` where `mask` is true."""
        rows, indices = mask.nonzero(as_tuple=True)
        # Counting the few survivors is cheaper than summing the mask.
        counts = torch.bincount(rows, minlength=len(full))
        return cls(_bounds(counts), indices, full[rows, indices], full.shape[1])


def _bounds(counts: Int[Tensor, "token"]) -> Int[Tensor, "bounds"]:
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])


def grouped(
    labels: Int[Tensor, "active"], groups: int
) -> tuple[Int[Tensor, "bounds"], Int[Tensor, "active"]]:
    """Where the entries of each label begin, and the entries in stable order of label."""
    if labels.device.type == "cpu" and find_spec("numba"):
        bounds, order = _counting_sort()(labels.numpy(), groups)
        return torch.from_numpy(bounds), torch.from_numpy(order)
    return _bounds(torch.bincount(labels, minlength=groups)), torch.argsort(labels, stable=True)


@cache
def _counting_sort() -> Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]:
    """Imported when first needed: numba takes half a second, and files are read without it."""
    from monosemy.tensors.order import by_latent

    return by_latent
