"""How many parents and children are active: thresholds that are led there, and settled at the end."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from monosemy.dictionaries.local import Level, LocalDictionary
from monosemy.tensors.axes import Activations, Tensor
from monosemy.tensors.codes import SparseCode

# A threshold moves by the square root of how far its count is off, at most so much in a step.
_MOST = 1.12
_STIFF = 0.5
# Counts near zero say little about a ratio.
_SOFT = 0.02
# Where a threshold of children begins, as a share of the parent's activation, and how far it may go.
_LEAST, _SMALL, _LARGE = 0.1, 1e-4, 1e3
_ROUNDS = 60
_CLOSE = 0.002


def begin_floor(level: LocalDictionary, code: SparseCode, wanted: float) -> None:
    """The floor that as many proposals as wanted lie above; children begin with a small one."""
    many = max(round(wanted * code.tokens), 1)
    values = code.values.detach()
    floor = values.topk(min(many, len(values))).values[-1] if len(values) else values.new_ones(())
    level.floor.fill_(float(floor))
    level.least.fill_(_LEAST)


@torch.no_grad()
def steer(
    dictionary: LocalDictionary, parents: SparseCode, levels: list[Level], active: Sequence[float]
) -> dict[str, Tensor]:
    """Move thresholds by what was active on a batch. Readings: parents, children of each level.

    ``threshold *= clip(sqrt((count + c) / (wanted + c)))``, where counts are a token's. A level without
    charts is left alone.
    """
    counts = {"parents": parents.counts.sum() / max(parents.tokens, 1)}
    first = dictionary.levels[0]
    first.floor.mul_(_factor(counts["parents"], active[0])).clamp_(min=1e-12)
    for number, (one, found) in enumerate(zip(dictionary.levels, levels, strict=True)):
        has = (found.explained.children >= 0).sum() / max(parents.tokens, 1)
        counts["children" if number == 0 else f"children_{number + 1}"] = has
        if bool((one.routes >= 0).any()):
            if float(one.least) == 0:
                one.least.fill_(_LEAST)
            one.least.mul_(_factor(has, active[number + 1])).clamp_(_SMALL, _LARGE)
    return counts


def _factor(count: Tensor, wanted: float) -> Tensor:
    ratio = (count.double() + _SOFT) / (wanted + _SOFT)
    return ratio.pow(_STIFF).clamp(1 / _MOST, _MOST)


@torch.no_grad()
def settle(dictionary: LocalDictionary, rows: Activations, active: Sequence[float]) -> None:
    """Thresholds at which `rows` have as many active parents and children on average as wanted."""
    for _ in range(_ROUNDS):
        _, parents, levels = dictionary.find(rows)
        counts = steer(dictionary, parents, levels, active)
        off = [abs(float(count) / max(wanted, _SOFT) - 1)
               for count, wanted in zip(counts.values(), active, strict=True)]  # fmt: skip
        if max(off) < _CLOSE:
            return
