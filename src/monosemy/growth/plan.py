"""Which indices are new: what a later step needs in order to give new axes a meaning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from monosemy.growth import rotary
from monosemy.growth.families import Family
from monosemy.growth.shapes import Growth, Shape
from monosemy.tensors.axes import Int, Tensor


@dataclass(frozen=True, eq=False)
class Axis:
    """One axis of a model that may have grown.

    Attributes
    ----------
    size : entries now.
    places : where each old entry is now.
    """

    size: int
    places: Int[Tensor, "old"]

    @property
    def new(self) -> Int[Tensor, "added"]:
        """Entries that were not there before."""
        is_new = torch.ones(self.size, dtype=torch.bool)
        is_new[self.places] = False
        return is_new.nonzero().flatten()

    def slices(self) -> list[tuple[int, int]]:
        """New entries as (first, one behind the last)."""
        found: list[tuple[int, int]] = []
        for index in self.new.tolist():
            if found and found[-1][1] == index:
                found[-1] = (found[-1][0], index + 1)
            else:
                found.append((index, index + 1))
        return found


@dataclass(frozen=True, eq=False)
class Plan:
    """One expansion: from which sizes to which, and where what is new lies.

    Attributes
    ----------
    growth : what was asked for.
    before, after : sizes.
    stream : numbers of the residual stream.
    neurons : of each MLP.
    queries, keys, values : rows of the matrices that make them, heads one after another.
    mixed : what the heads write, which the output matrix reads.
    new_keys : those of `keys` that old heads got.
    layers : blocks.
    """

    growth: Growth
    before: Shape
    after: Shape
    stream: Axis
    neurons: Axis
    queries: Axis
    keys: Axis
    values: Axis
    mixed: Axis
    new_keys: Int[Tensor, "added"]
    layers: Axis

    def to_json(self) -> dict[str, Any]:
        """``{expansion, before, after, new: {axis: [[first, behind], ...]}}``."""
        names = ("stream", "neurons", "queries", "keys", "values", "mixed", "layers")
        return {
            "expansion": str(self.growth),
            "before": vars(self.before),
            "after": vars(self.after),
            "new": {name: [list(s) for s in getattr(self, name).slices()] for name in names},
        }


def plan(growth: Growth, before: Shape, after: Shape, family: Family) -> Plan:
    """Where everything old goes.

    New entries lie behind the old ones, but for heads that join a group that shares keys and values
    (each group gets its own), and for pairs of rotary heads (see `rotary.places`).
    """
    turned = rotary.places(family.rotary, before.head, after.head)
    straight = torch.arange(before.head)
    heads, groups = _heads(before, after), torch.arange(before.groups)
    keys = _within(groups, after.groups, turned, after.head)
    whole = torch.arange(after.head)
    in_old_heads = (groups[:, None] * after.head + whole).flatten()
    return Plan(
        growth,
        before,
        after,
        stream=_behind(before.width, after.width),
        neurons=_behind(before.neurons, after.neurons),
        queries=_within(heads, after.heads, turned, after.head),
        keys=keys,
        values=_within(groups, after.groups, straight, after.head),
        mixed=_within(heads, after.heads, straight, after.head),
        new_keys=in_old_heads[~torch.isin(in_old_heads, keys.places)],
        layers=_behind(before.layers, after.layers),
    )


def _behind(old: int, new: int) -> Axis:
    return Axis(new, torch.arange(old))


def _heads(before: Shape, after: Shape) -> Int[Tensor, "head"]:
    """Where query heads go: heads of one group stand side by side."""
    old, new = before.heads // before.groups, after.heads // after.groups
    head = torch.arange(before.heads)
    return head // old * new + head % old


def _within(
    heads: Int[Tensor, "head"], many: int, numbers: Int[Tensor, "number"], wide: int
) -> Axis:
    """An axis of heads, one after another, each of so many numbers."""
    return Axis(many * wide, (heads[:, None] * wide + numbers).flatten())
