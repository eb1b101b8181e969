"""Which row is dealt when: arithmetic and named draws, a pure function of seed and settings."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import count

import torch

from monosemy.tensors.axes import Int, Tensor
from monosemy.tensors.compute import Compute


@dataclass(frozen=True)
class Place:
    """Where a batch lies: number `index` of those that a block gives in an epoch."""

    epoch: int
    block: int
    index: int = 0


@dataclass(frozen=True)
class Schedule:
    """The order in which the rows of a source are dealt.

    Rows are cut into blocks, in the source's order. Each epoch deals the blocks in an order drawn
    from (seed, epoch), and the rows of a block in an order drawn from (seed, epoch, block). Rows of
    the last block that fill no batch are left out.

    Attributes
    ----------
    tokens : rows of the source.
    batch : rows of a batch.
    block : rows of a block: whole batches.
    epochs : passes over the source; `None` never ends.
    compute : its seed fixes the orders.
    """

    tokens: int
    batch: int
    block: int
    epochs: int | None
    compute: Compute

    @property
    def batches_per_epoch(self) -> int:
        """Batches that one pass over the source gives."""
        return self.tokens // self.batch

    def bounds(self, block: int) -> tuple[int, int]:
        """First row of `block`, and one past its last."""
        return block * self.block, min((block + 1) * self.block, self.tokens)

    def batches(self, block: int) -> int:
        """Batches that `block` gives."""
        start, stop = self.bounds(block)
        return (stop - start) // self.batch

    def place(self, dealt: int) -> Place:
        """Where batch number `dealt`, over all epochs, lies."""
        epoch, index = divmod(dealt, self.batches_per_epoch)
        blocks, begins = _epoch(self, epoch)
        at = bisect_right(begins, index) - 1
        return Place(epoch, blocks[at], index - begins[at])

    def blocks_from(self, place: Place) -> Iterator[Place]:
        """The block of `place` and all that are dealt after it."""
        for epoch in count(place.epoch):
            if self.epochs is not None and epoch >= self.epochs:
                return
            blocks, _ = _epoch(self, epoch)
            first = blocks.index(place.block) if epoch == place.epoch else 0
            yield from (Place(epoch, block) for block in blocks[first:])

    def order(self, place: Place) -> Int[Tensor, "token"]:
        """The rows of a block in the order dealt, counted from its first."""
        start, stop = self.bounds(place.block)
        draw = self.compute.generator(f"activation stream/{place.epoch}/{place.block}")
        return torch.randperm(stop - start, generator=draw)


@lru_cache(maxsize=4)
def _epoch(schedule: Schedule, epoch: int) -> tuple[list[int], list[int]]:
    """The blocks of an epoch in the order dealt, and the batch with which each begins."""
    draw = schedule.compute.generator(f"activation stream/{epoch}")
    drawn = torch.randperm(-(-schedule.tokens // schedule.block), generator=draw).tolist()
    blocks = [block for block in drawn if schedule.batches(block)]
    begins, batches = [], 0
    for block in blocks:
        begins.append(batches)
        batches += schedule.batches(block)
    return blocks, begins
