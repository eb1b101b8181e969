"""The last act of a training: thresholds at which mean L0 is what was asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch

from monosemy.dictionaries.base import Dictionary
from monosemy.dictionaries.hierarchical import HierarchicalDictionary
from monosemy.dictionaries.local import LocalDictionary
from monosemy.dictionaries.selection import BatchTopK, JumpReLU, Selection
from monosemy.tensors.axes import Activations, Tensor
from monosemy.tensors.codes import SparseCode
from monosemy.tensors.kernels import PreActivations
from monosemy.training.hierarchical import settle_children
from monosemy.training.local_steering import settle
from monosemy.training.sparsity import single_selections

# Thresholds of a JumpReLU are lowered to this share at most: what lies below was never learned.
_LEAST_FACTOR = 0.5
# Rows that the thresholds of a local dictionary are settled on, round after round.
_LOOKED_AT = 8192


@torch.no_grad()
def settle_threshold(
    dictionary: Dictionary, rows: Activations, target_l0: float | None = None
) -> None:
    """Set thresholds so that `rows` have as many active latents on average as wanted. In place.

    * BatchTopK, ``k``: the running mean of training lags behind a dictionary that still learns, and
      is a mean of minima over batches. Here it is exact on the sample: halfway between the
      ``k · tokens``-th largest positive pre-activation and the next one. Of several thresholds (of
      layers, of two readings one after the other) each is settled when its turn comes. With
      `target_l0`, that many instead of ``k``, which need not be whole.
    * JumpReLU under a controller, `target_l0`: all thresholds are multiplied by one factor, halfway
      between the two at which L0 steps over the target. The controller leaves it near one.
    * Dictionaries with children that were trained: the parents that are proposed, then how many stay,
      and how many have children, as training aimed at.

    Other selections are left alone.
    """
    if isinstance(dictionary, HierarchicalDictionary) and dictionary.aims:
        settle_threshold(dictionary.trunk, rows, dictionary.aims[0])
        settle_children(dictionary, rows, dictionary.aims[1])
        return
    batchwise = [part for part in dictionary.modules() if isinstance(part, BatchTopK)]
    if batchwise:
        with _asked_instead(batchwise, partial(_settle, target=target_l0)):
            dictionary.code(rows)
    if isinstance(dictionary, LocalDictionary) and dictionary.aims:
        settle(dictionary, rows[:_LOOKED_AT], dictionary.aims)
    found = single_selections(dictionary.selection)
    jumps = [part for part in found if isinstance(part, JumpReLU)]
    if target_l0 is not None and jumps:
        _scale_thresholds(dictionary, jumps, rows, target_l0)


def _settle(selection: BatchTopK, pre: PreActivations, target: float | None = None) -> SparseCode:
    wanted = round((selection.k if target is None else target) * len(pre.x))
    best = pre.batch_largest(wanted + 1).values
    if len(best) > wanted:
        selection.threshold.copy_(best.topk(2, largest=False).values.double().mean())
    return BatchTopK.support(selection, pre)


def _scale_thresholds(
    dictionary: Dictionary, jumps: Sequence[JumpReLU], rows: Activations, target: float
) -> None:
    ratios: list[Tensor] = []

    def measure(selection: JumpReLU, pre: PreActivations) -> SparseCode:
        least = selection.threshold.to(pre.b.dtype).clamp_min(0)
        near = pre.above(_LEAST_FACTOR * least)
        ratios.append(near.values / least[near.indices])
        return JumpReLU.support(selection, pre)

    with _asked_instead(jumps, measure):
        dictionary.code(rows)
    every, wanted = torch.cat(ratios), round(target * len(rows))
    factor = _LEAST_FACTOR
    if len(every) > wanted:
        factor = float(every.topk(wanted + 1).values[-2:].double().mean())
    for selection in jumps:
        selection.threshold.mul_(factor)


@contextmanager
def _asked_instead(
    selections: Sequence[Selection], answer: Callable[..., SparseCode]
) -> Iterator[None]:
    """While the block runs, `answer` decides what the selections let through."""
    for selection in selections:
        # In the place of the class's own, which is found again when this is gone.
        setattr(selection, "support", partial(answer, selection))  # noqa: B010
    try:
        yield
    finally:
        for selection in selections:
            delattr(selection, "support")
