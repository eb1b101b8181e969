"""What is lowered: programs that turn a batch into a loss by calling a module."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from monosemy.tensors.axes import Float, Int, Tensor
from monosemy.training.loop import Readings


class NextToken:
    """Cross-entropy of the next token, in nats: ``-mean log p(x[t+1] | x[..t])``.

    Parameters
    ----------
    module : a causal language model whose output has ``logits``.
    autocast : precision of the matrix products; parameters and loss stay in float32.
    """

    def __init__(self, module: nn.Module, autocast: torch.dtype | None = None):
        self.module = module
        self.autocast = autocast

    def loss(self, batch: Int[Tensor, "context position"]) -> tuple[Float[Tensor, ""], Readings]:
        """Mean over every position that has a next token."""
        kind = self.autocast or torch.float32
        with torch.autocast(batch.device.type, kind, enabled=self.autocast is not None):
            logits = self.module(batch).logits
        following = batch[:, 1:].reshape(-1)
        flat = logits[:, :-1].reshape(following.shape[0], -1).float()
        return nn.functional.cross_entropy(flat, following), {}

    def before_update(self) -> None:
        """The parameters are free."""

    def after_update(self) -> None:
        """The parameters are free."""

    def state_dict(self) -> dict[str, Any]:
        """The module's parameters."""
        return {"module": self.module.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up parameters saved by `state_dict`."""
        self.module.load_state_dict(state["module"])
