"""Shuffled, exactly resumable batches: the same seed deals the same rows, wherever it stopped."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from monosemy.data.tokens import Contexts
from monosemy.foundation.errors import UserError, refuse
from monosemy.tensors.axes import Int, Tensor
from monosemy.tensors.compute import Compute


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
