"""The last act of a BatchTopK training: the threshold at which mean L0 is k."""

from __future__ import annotations

import torch

from monosemy.dictionaries.base import Dictionary
from monosemy.dictionaries.selection import BatchTopK
from monosemy.tensors.axes import Activations
from monosemy.tensors.kernels import PreActivations


@torch.no_grad()
def settle_threshold(dictionary: Dictionary, rows: Activations) -> None:
    """Set the threshold so that `rows` have ``k`` active latents on average. In place.

    The running mean of training lags behind a dictionary that still learns, and is a mean of
    minima over batches. Here it is exact on the sample: halfway between the ``k · tokens``-th
    largest positive pre-activation and the next one. Other selections are left alone.
    """
    selection = dictionary.selection
    if not isinstance(selection, BatchTopK):
        return
    wanted = selection.k * len(rows)
    asked = PreActivations(rows - dictionary.b_dec, dictionary.W_enc, dictionary.b_enc)
    best = asked.batch_largest(wanted + 1).values
    if len(best) > wanted:
        selection.threshold.copy_(best.topk(2, largest=False).values.double().mean())
