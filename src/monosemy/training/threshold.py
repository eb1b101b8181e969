"""The last act of a BatchTopK training: the threshold at which mean L0 is k."""

from __future__ import annotations

import torch

from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.selection import BatchTopK
from monosemy.tensors import plain
from monosemy.tensors.axes import Activations

# Rows encoded at once.
_CHUNK = 2048


@torch.no_grad()
def settle_threshold(dictionary: FlatDictionary, rows: Activations) -> None:
    """Set the threshold so that `rows` have ``k`` active latents on average. In place.

    The running mean of training lags behind a dictionary that still learns, and is a mean of
    minima over batches. Here it is exact on the sample: halfway between the ``k · tokens``-th
    largest positive pre-activation and the next one. Other selections are left alone.
    """
    selection = dictionary.selection
    if not isinstance(selection, BatchTopK):
        return
    encoder = dictionary.W_enc, dictionary.b_enc, dictionary.b_dec
    wanted = selection.k * len(rows)
    best = rows.new_zeros(0)
    for part in rows.split(_CHUNK):
        pre = plain.pre_activations(part, *encoder).flatten()
        best = torch.cat([best, pre[pre > 0]])
        best = best.topk(min(wanted + 1, len(best)), sorted=False).values
    if len(best) > wanted:
        selection.threshold.copy_(best.topk(2, largest=False).values.double().mean())
