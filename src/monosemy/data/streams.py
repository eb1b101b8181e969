"""Shuffled, exactly resumable batches: the same seed deals the same rows, wherever it stopped."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch

from monosemy.data.tokens import Contexts
from monosemy.foundation.errors import UserError, refuse
from monosemy.tensors.axes import Float, Int, Tensor
from monosemy.tensors.compute import Compute


@runtime_checkable
class Source(Protocol):
    """Activations of one site over all kept tokens of some contexts, in their order."""

    site: str
    tokens: int
    """Kept tokens: how many rows there are."""
    width: int
    dtype: torch.dtype
    fingerprint: str
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
        self._dealt = 0  # contexts, over all epochs
        self._order: tuple[int, Tensor] | None = None  # (epoch, its permutation)

    def __iter__(self) -> Iterator[Int[Tensor, "context position"]]:
        return self

    def __next__(self) -> Int[Tensor, "context position"]:
        parts, wanted = [], self.batch
        while wanted:
            epoch, start = divmod(self._dealt, len(self.contexts))
            part = self._epoch(epoch)[start : start + wanted]
            parts.append(part)
            wanted -= len(part)
            self._dealt += len(part)
        return self.contexts.ids[torch.cat(parts)].to(self.compute.device)

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

    The kept tokens are cut into blocks of `block` rows. Each epoch deals the blocks in an order
    drawn from (seed, epoch), and the rows of a block in an order drawn from (seed, epoch, block).
    Every row is dealt once an epoch, but for those of the last block (in the source's order) that
    do not fill a batch. One block is held in memory, in the source's dtype; a batch is float32.

    Parameters
    ----------
    source : live activations or shards.
    batch : rows of a batch.
    compute : its seed fixes the orders; batches are moved to its device.
    epochs : passes over the source; `None` never ends.
    block : rows that are shuffled together, rounded down to whole batches (at least one).

    Errors
    ------
    `UserError` for a batch larger than the source and for counts below one.
    """

    def __init__(
        self,
        source: Source,
        batch: int,
        compute: Compute,
        epochs: int | None = 1,
        block: int = 131_072,
    ):
        refuse(_unfit(source, batch, epochs, block), "this stream of activations")
        self.source = source
        self.batch = batch
        self.compute = compute
        self.epochs = epochs
        self.block = max(batch, block // batch * batch)
        self._dealt = 0  # batches, over all epochs
        self._order: tuple[int, list[int]] | None = None  # (epoch, its order of blocks)
        self._held: _Block | None = None

    @property
    def batches_per_epoch(self) -> int:
        """Batches that one pass over the source gives."""
        return self.source.tokens // self.batch

    def __len__(self) -> int:
        if self.epochs is None:
            raise TypeError("a stream without end has no length")
        return self.epochs * self.batches_per_epoch

    def __iter__(self) -> Iterator[Float[Tensor, "token width"]]:
        return self

    def __next__(self) -> Float[Tensor, "token width"]:
        if self.epochs is not None and self._dealt >= len(self):
            self._held = None
            raise StopIteration
        epoch, block, index = self._locate(self._dealt)
        batch = self._deal(self._hold(epoch, block), index * self.batch, self.batch)
        self._dealt += 1
        return batch

    def first_rows(self, count: int) -> Float[Tensor, "token width"]:
        """The first `count` rows that the stream deals in all, whatever it has dealt by now.

        For starts that depend on the data; nothing is consumed. They come from the first block, so
        fewer come where that holds fewer.
        """
        epoch, block, _ = self._locate(0)
        return self._deal(self._hold(epoch, block), 0, count)

    def _locate(self, dealt: int) -> tuple[int, int, int]:
        """Epoch, block and batch inside the block of batch number `dealt`."""
        epoch, index = divmod(dealt, self.batches_per_epoch)
        for block in self._blocks(epoch):
            start, stop = self._bounds(block)
            inside = (stop - start) // self.batch
            if index < inside:
                return epoch, block, index
            index -= inside
        raise AssertionError("the blocks of an epoch hold all its batches")

    def _blocks(self, epoch: int) -> list[int]:
        if self._order is None or self._order[0] != epoch:
            count = -(-self.source.tokens // self.block)
            draw = self.compute.generator(f"activation stream/{epoch}")
            self._order = (epoch, torch.randperm(count, generator=draw).tolist())
        return self._order[1]

    def _bounds(self, block: int) -> tuple[int, int]:
        return block * self.block, min((block + 1) * self.block, self.source.tokens)

    def _hold(self, epoch: int, block: int) -> _Block:
        if self._held is None or (self._held.epoch, self._held.block) != (epoch, block):
            self._held = None  # frees the old block before the new one is gathered
            rows = self.source.rows(*self._bounds(block))
            draw = self.compute.generator(f"activation stream/{epoch}/{block}")
            order = torch.randperm(len(rows), generator=draw)
            self._held = _Block(epoch, block, rows, order)
        return self._held

    def _deal(self, held: _Block, start: int, count: int) -> Float[Tensor, "token width"]:
        chosen = held.order[start : start + count].to(held.rows.device)
        return held.rows[chosen].to(self.compute.device, torch.float32)

    def state_dict(self) -> dict[str, Any]:
        """Where the stream stands, and the settings that this place depends on; plain JSON."""
        return {"dealt": self._dealt, "settings": self._settings()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state`, bit for bit; `UserError` where it was saved under other settings.

        The number of epochs may differ, and so may the kind of source, if its rows are the same.
        """
        _check_settings(state["settings"], self._settings())
        self._dealt = int(state["dealt"])

    def _settings(self) -> dict[str, Any]:
        return {
            "batch": self.batch,
            "block": self.block,
            "seed": self.compute.seed,
            "source": self.source.fingerprint,
        }


@dataclass(frozen=True)
class _Block:
    """The rows that are being dealt, in the source's order, and the order in which they are."""

    epoch: int
    block: int
    rows: Float[Tensor, "token width"]
    order: Int[Tensor, "token"]


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
