"""Next-token training of a model while parts of it are moved from one place to another."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn

from monosemy.tensors.axes import Float, Int, Tensor
from monosemy.training.loop import Readings
from monosemy.training.objectives import NextToken


@runtime_checkable
class Movable(Protocol):
    """What can be moved, and how far it has come."""

    share: float

    def move(self, share: float) -> None:
        """Go on to `share`, 0 to 1."""


class LearnWhileMoving:
    """`objectives.NextToken`; before step t the share is ``min(1, (t + 1) / steps)``.

    Parameters
    ----------
    module : a causal language model.
    moved : what moves in `module`; `None` where nothing does.
    steps : of the move.
    autocast : see `NextToken`.
    """

    def __init__(
        self,
        module: nn.Module,
        moved: Movable | None,
        steps: int,
        autocast: torch.dtype | None = None,
    ):
        self._next = NextToken(module, autocast)
        self.module = module
        self._moved, self._steps, self._done = moved, steps, 0

    def loss(self, batch: Int[Tensor, "context position"]) -> tuple[Float[Tensor, ""], Readings]:
        """Move on, then the mean over every position that has a next token."""
        if self._moved and self._done < self._steps:
            self._moved.move((self._done + 1) / self._steps)
        self._done += 1
        return self._next.loss(batch)

    def renew(self) -> Sequence[tuple[nn.Parameter, Tensor]]:
        """Nothing begins anew."""
        return ()

    def at_work(self) -> AbstractContextManager[None]:
        """As `NextToken`."""
        return self._next.at_work()

    def state_dict(self) -> dict[str, Any]:
        """Parameters, and how many steps were made."""
        return {**self._next.state_dict(), "moved": self._done}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` gave."""
        self._next.load_state_dict(state)
        self._done = int(state["moved"])
        if self._moved:
            self._moved.share = min(1.0, self._done / self._steps)
