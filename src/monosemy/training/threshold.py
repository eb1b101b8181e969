"""The last act of a BatchTopK training: the threshold at which mean L0 is k."""

from __future__ import annotations

from functools import partial

import torch

from monosemy.dictionaries.base import Dictionary
from monosemy.dictionaries.selection import BatchTopK
from monosemy.tensors.axes import Activations
from monosemy.tensors.codes import SparseCode
from monosemy.tensors.kernels import PreActivations


@torch.no_grad()
def settle_threshold(dictionary: Dictionary, rows: Activations) -> None:
    """Set the threshold so that `rows` have ``k`` active latents on average. In place.

    The running mean of training lags behind a dictionary that still learns, and is a mean of
    minima over batches. Here it is exact on the sample: halfway between the ``k · tokens``-th
    largest positive pre-activation and the next one. Of several thresholds (of layers, of two
    readings one after the other) each is settled when its turn comes. Other selections are left
    alone.
    """
    settled = [part for part in dictionary.modules() if isinstance(part, BatchTopK)]
    for selection in settled:
        # In the place of its own, which is found behind it again.
        setattr(selection, "support", partial(_settle, selection))  # noqa: B010
    try:
        if settled:
            dictionary.code(rows)
    finally:
        for selection in settled:
            delattr(selection, "support")


def _settle(selection: BatchTopK, pre: PreActivations) -> SparseCode:
    wanted = selection.k * len(pre.x)
    best = pre.batch_largest(wanted + 1).values
    if len(best) > wanted:
        selection.threshold.copy_(best.topk(2, largest=False).values.double().mean())
    return BatchTopK.support(selection, pre)
