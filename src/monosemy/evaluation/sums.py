"""Sums by document: what every metric and its interval are made of."""

from __future__ import annotations

from collections.abc import Mapping

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


def positive(values: np.ndarray, above: np.ndarray | float = 0.0) -> np.ndarray:
    """The values, NaN where they are not above `above`: denominators that mean something."""
    return np.where(values > above, values, np.nan)
