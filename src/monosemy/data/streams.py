"""Shuffled, exactly resumable batches: the same seed deals the same rows, wherever it stopped."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch

from monosemy.data.ahead import Ahead
from monosemy.data.ring import Ring
from monosemy.data.schedule import Place, Schedule
from monosemy.data.tokens import Contexts
from monosemy.foundation.clock import Clock
from monosemy.foundation.errors import UserError, refuse
from monosemy.tensors.axes import Float, Int, Tensor
from monosemy.tensors.compute import Compute

# Rows that are read at a time: about one forward pass, so that a reader that is told to stop does so
# within one, and few enough to be still in the caches when they are written into the ring.
SLICE = 2048


@runtime_checkable
class Source(Protocol):
    """Activations of one site over all kept tokens of some contexts, in their order."""

    site: str
    tokens: int
    """Kept tokens: how many rows there are."""
    width: int
    dtype: torch.dtype
    waits_for: str
    """What takes the time of reading: ``model``, or ``input`` where no model runs."""

    @property
    def fingerprint(self) -> str:
        """Equal for two sources exactly where their rows are, live or from shards."""

    @property
    def contexts(self) -> Contexts:
        """Which token of which document each row belongs to."""

    def rows(self, start: int, stop: int) -> Float[Tensor, "token width"]:
        """Activations of kept tokens `start` to `stop`."""


class TokenStream:
    """Batches of contexts for training a language model, without end.

    Epoch ``e`` deals every context once, in an order drawn from (seed, ``e``). The epochs are
    joined end to end and cut into batches, so nothing is dropped and a batch may hold the end of
    one epoch and the beginning of the next.

    Parameters
    ----------
    contexts : what is dealt.
    batch : contexts in a batch.
    compute : its seed fixes the orders; batches are moved to its device.

    Errors
    ------
    `UserError` for a batch below one and for no contexts.
    """

    def __init__(self, contexts: Contexts, batch: int, compute: Compute):
        if batch < 1:
            raise UserError(f"batch of {batch} contexts: wanted at least 1")
        if not len(contexts):
            raise UserError("no contexts to deal: give more text")
        self.contexts = contexts
        self.batch = batch
        self.compute = compute
        self._clock = Clock()
        self._dealt = 0  # contexts, over all epochs
        self._order: tuple[int, Tensor] | None = None  # (epoch, its permutation)

    def __iter__(self) -> Iterator[Int[Tensor, "context position"]]:
        return self

    @property
    def seconds(self) -> dict[str, float]:
        """Wall time that `next` has taken, as ``input``."""
        return dict(self._clock.seconds)

    def __next__(self) -> Int[Tensor, "context position"]:
        with self._clock.counting("input"):
            return self.contexts.ids[self._next_contexts()].to(self.compute.device)

    def _next_contexts(self) -> Int[Tensor, "context"]:
        parts, wanted = [], self.batch
        while wanted:
            epoch, start = divmod(self._dealt, len(self.contexts))
            part = self._epoch(epoch)[start : start + wanted]
            parts.append(part)
            wanted -= len(part)
            self._dealt += len(part)
        return torch.cat(parts)

    def _epoch(self, epoch: int) -> Int[Tensor, "context"]:
        if self._order is None or self._order[0] != epoch:
            draw = self.compute.generator(f"token stream/{epoch}")
            self._order = (epoch, torch.randperm(len(self.contexts), generator=draw))
        return self._order[1]

    def state_dict(self) -> dict[str, Any]:
        """Where the stream stands, and the settings that this place depends on; plain JSON."""
        return {"dealt": self._dealt, "settings": self._settings()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state`, bit for bit; `UserError` where it was saved under other settings."""
        _check_settings(state["settings"], self._settings())
        self._dealt = int(state["dealt"])

    def _settings(self) -> dict[str, Any]:
        return {
            "batch": self.batch,
            "seed": self.compute.seed,
            "contexts": self.contexts.fingerprint,
        }


class ActivationStream:
    """Batches of activations in a shuffled order, the same from live activations and from shards.

    What is dealt when is said in `schedule.Schedule`: every row once an epoch, shuffled within its
    block, the blocks in an order of their own, but for the rows that fill no batch at the end of
    the source. One block is held in memory, in the source's dtype, and `SLICE` rows on their way
    into it; a batch is float32.

    The next block may be read while this one is dealt, by a thread of its own, into the room that
    dealt rows leave; the batches are the same bit for bit, and no second block is held.

    Parameters
    ----------
    source : live activations or shards.
    batch : rows of a batch.
    compute : its seed fixes the orders; batches are moved to its device.
    epochs : passes over the source; `None` never ends.
    block : rows that are shuffled together, rounded down to whole batches (at least one).
    overlap : whether the next block is read while this one is dealt; `None` does so where something
        is idle meanwhile (see `has_idle_cores`).

    Errors
    ------
    `UserError` for a batch larger than the source and for counts below one. What the source raises
    comes out of `next`, whichever thread read it.
    """

    def __init__(
        self,
        source: Source,
        batch: int,
        compute: Compute,
        epochs: int | None = 1,
        block: int = 131_072,
        overlap: bool | None = None,
    ):
        refuse(_unfit(source, batch, epochs, block), "this stream of activations")
        self.source = source
        self.batch = batch
        self.compute = compute
        self.epochs = epochs
        self.block = max(batch, block // batch * batch)
        self.overlap = has_idle_cores(compute) if overlap is None else overlap
        self._schedule = Schedule(source.tokens, batch, self.block, epochs, compute)
        self._clock = Clock()
        self._dealt = 0  # batches, over all epochs
        self._blocks: Iterator[_Block] | None = None  # those to come, in the order dealt
        self._held: _Block | None = None

    @property
    def batches_per_epoch(self) -> int:
        """Batches that one pass over the source gives."""
        return self._schedule.batches_per_epoch

    @property
    def seconds(self) -> dict[str, float]:
        """Wall time that `next` has taken: ``model`` or ``input`` (see `Source.waits_for`), ``buffer``.

        Where the next block is read meanwhile, only the time that its reader was waited for counts.
        """
        return dict(self._clock.seconds)

    def __len__(self) -> int:
        if self.epochs is None:
            raise TypeError("a stream without end has no length")
        return self.epochs * self.batches_per_epoch

    def __iter__(self) -> Iterator[Float[Tensor, "token width"]]:
        return self

    def __next__(self) -> Float[Tensor, "token width"]:
        if self.epochs is not None and self._dealt >= len(self):
            self.close()
            raise StopIteration
        place = self._schedule.place(self._dealt)
        held, start = self._hold(place), place.index * self.batch
        stop = start + self.batch
        batch = self._rows(held, start, stop)
        with self._clock.counting("buffer"):
            last = place.index + 1 == self._schedule.batches(place.block)
            held.free(len(held.slots) if last else stop)
        self._dealt += 1
        return batch

    def first_rows(self, count: int) -> Float[Tensor, "token width"]:
        """The first `count` rows that the stream deals in all, whatever it has dealt by now.

        For starts that depend on the data; nothing is consumed. They come from the first block, so
        fewer come where that holds fewer.
        """
        if self._dealt:
            self.close()
        rows = self._rows(self._hold(self._schedule.place(0)), 0, count)
        if self._dealt:
            self.close()
        return rows

    def close(self) -> None:
        """Read no further and free the memory; a later `next` goes on as if nothing had been."""
        if isinstance(self._blocks, Ahead):
            self._blocks.close()
        self._blocks = self._held = None

    def _rows(self, held: _Block, start: int, stop: int) -> Float[Tensor, "token width"]:
        with self._clock.counting("buffer"):
            rows = held.ring.take(held.slots[start:stop])
            return rows.to(self.compute.device, torch.float32)

    def _hold(self, place: Place) -> _Block:
        """The block of `place`: the one that is held, or the next, or the first to be read."""
        if self._held is None or not self._held.holds(place):
            self._held = None
            try:
                self._held = self._next_block(place)
            except BaseException:
                self.close()  # what was interrupted cannot go on, but a new reading can
                raise
        return self._held

    def _next_block(self, first: Place) -> _Block:
        if self._blocks is None:
            self._blocks = self._read_from(first)
        if not self.overlap:  # the reading is done in here, and counts itself
            return next(self._blocks)
        with self._clock.counting(self.source.waits_for):
            return next(self._blocks)

    def _read_from(self, first: Place) -> Iterator[_Block]:
        ring = Ring(min(self.block, self.source.tokens))
        if not self.overlap:
            return _read(self.source, self._schedule, first, ring, self._clock)
        return Ahead(_read(self.source, self._schedule, first, ring, Clock()), ring.close)

    def state_dict(self) -> dict[str, Any]:
        """Where the stream stands, and the settings that this place depends on; plain JSON."""
        return {"dealt": self._dealt, "settings": self._settings()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state`, bit for bit; `UserError` where it was saved under other settings.

        The number of epochs may differ, and so may the kind of source, if its rows are the same.
        """
        _check_settings(state["settings"], self._settings())
        self.close()
        self._dealt = int(state["dealt"])

    def _settings(self) -> dict[str, Any]:
        return {
            "batch": self.batch,
            "block": self.block,
            "seed": self.compute.seed,
            "source": self.source.fingerprint,
        }


@dataclass
class _Block:
    """Where the rows of a block lie in the ring, in the order in which they are dealt."""

    place: Place
    ring: Ring
    slots: Int[Tensor, "token"]
    dealt: int = 0

    def holds(self, place: Place) -> bool:
        return (self.place.epoch, self.place.block) == (place.epoch, place.block)

    def free(self, stop: int) -> None:
        """Rows before `stop` are not needed any more."""
        self.ring.free(self.slots[self.dealt : stop])
        self.dealt = stop


def _read(
    source: Source, schedule: Schedule, first: Place, ring: Ring, clock: Clock
) -> Iterator[_Block]:
    """The blocks from `first` on, each read into `ring` slice by slice."""
    for place in schedule.blocks_from(first):
        start, stop = schedule.bounds(place.block)
        slots = []
        for low in range(start, stop, SLICE):
            with clock.counting(source.waits_for):
                rows = source.rows(low, min(low + SLICE, stop))
            with clock.counting("buffer"):
                slots.append(ring.put(rows))
            del rows  # or they would wait here until the next block is read
        with clock.counting("buffer"):
            found = torch.cat(slots)
            order = schedule.order(place).to(found.device)
            block = _Block(place, ring, found[order])
        yield block


def has_idle_cores(compute: Compute) -> bool:
    """Whether a second thread would find something to run on that a step leaves idle.

    It does beside an accelerator. On a CPU both would want the same cores: every product already
    uses all threads, so there have to be as many cores again (two of the operating system's to each
    that can calculate).
    """
    if torch.device(compute.device).type == "cuda":
        return True
    return _cores() >= 4 * torch.get_num_threads()


def _cores() -> int:
    count: Callable[[int], set[int]] | None = getattr(os, "sched_getaffinity", None)
    return len(count(0)) if count else os.cpu_count() or 1


def _unfit(source: Source, batch: int, epochs: int | None, block: int) -> list[str]:
    wanted = {"batch": batch, "block": block} | ({} if epochs is None else {"epochs": epochs})
    reasons = [
        f"{name} is {value}; wanted at least 1" for name, value in wanted.items() if value < 1
    ]
    if source.tokens < batch:
        reasons.append(
            f"a batch of {batch:,} rows is more than the {source.tokens:,} activations there are; "
            "use a smaller batch or more text"
        )
    return reasons


def _check_settings(saved: dict[str, Any], here: dict[str, Any]) -> None:
    reasons = [
        f"{name} was {saved.get(name)!r} where the state was saved and is {here.get(name)!r} here"
        for name in sorted(saved.keys() | here.keys())
        if saved.get(name) != here.get(name)
    ]
    refuse(
        [f"{reason}; go on with the old setting, or start anew" for reason in reasons],
        "the stream's saved state",
    )
