"""Sums by document: what every metric and its interval are made of."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import torch

from monosemy.tensors.axes import Int, Tensor

Sums = Mapping[str, np.ndarray]
"""Sums by document: the first axis is the document."""
Totals = Mapping[str, np.ndarray]
"""The same, summed over documents, once for each resample: the first axis is the resample."""


class DocumentSums:
    """Gathers terms of tokens, in float64; `sums` hands over what it has.

    Parameters
    ----------
    documents : how many there are.
    """

    def __init__(self, documents: int):
        self._documents = documents
        self._sums: dict[str, Tensor] = {}

    def add(self, document: Int[Tensor, "token"], terms: Mapping[str, Tensor]) -> None:
        """Count in tokens of the documents given: each term is ``[token]`` or ``[token, any]``."""
        where = document.cpu()
        for name, values in terms.items():
            shape = (self._documents, *values.shape[1:])
            total = self._sums.setdefault(name, torch.zeros(shape, dtype=torch.float64))
            total.index_add_(0, where, values.double().cpu())

    def sums(self) -> Sums:
        """By document; documents without a token are zero."""
        return {name: values.numpy() for name, values in self._sums.items()}


class PieceSums:
    """Gathers terms of tokens that come one after another, in float64, by pieces of equal size.

    Parameters
    ----------
    piece : tokens of a piece; the last may have fewer.
    """

    def __init__(self, piece: int):
        self._piece = piece
        self._tokens = 0
        self._sums: dict[str, list[Tensor]] = {}

    def add(self, terms: Mapping[str, Tensor]) -> None:
        """Count in the tokens that come next: each term is ``[token]`` or ``[token, any]``."""
        count = len(next(iter(terms.values())))
        if not count:
            return
        first = self._piece - self._tokens % self._piece  # tokens that the open piece still takes
        cuts = [0, *range(min(first, count), count, self._piece), count]
        sizes = [b - a for a, b in pairwise(cuts) if b > a]
        for name, values in terms.items():
            parts = [part.double().sum(0).cpu() for part in values.split(sizes)]
            found = self._sums.setdefault(name, [])
            if found and first < self._piece and parts:
                found[-1] = found[-1] + parts.pop(0)
            found += parts
        self._tokens += count

    def by_block(self, size: int) -> dict[str, np.ndarray]:
        """Sums of each `size` tokens: whole pieces."""
        step = size // self._piece
        return {
            name: np.stack([part.sum(0).numpy() for part in torch.stack(parts).split(step)])
            for name, parts in self._sums.items()
        }


def positive(values: np.ndarray, above: np.ndarray | float = 0.0) -> np.ndarray:
    """The values, NaN where they are not above `above`: denominators that mean something."""
    return np.where(values > above, values, np.nan)
