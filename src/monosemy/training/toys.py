"""What toy models learn, all instances at once."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from monosemy.models.toy import Batch, Toy
from monosemy.tensors.axes import Float, Tensor
from monosemy.training.loop import Readings


class LearnToys:
    """``sum over instances of mean over samples of sum_i I_i (y_i - y'_i)²``.

    A sum over instances, so that no gradient of one depends on another; clipping the whole gradient
    would tie them together, so toys are trained without it (`optim.OptimConfig.clip` = 0).

    Parameters
    ----------
    module : the instances.
    importance : (instance, feature) or (1, feature).
    trace_every : every so many steps the parameters are kept in `trace`; 0 keeps none.

    Attributes
    ----------
    trace : parameters by name, before the first step and then every `trace_every` steps.
    """

    def __init__(self, module: Toy, importance: Float[Tensor, "any feature"], trace_every: int = 0):
        self.module: Toy = module
        self.importance = importance[:, None]
        self.trace_every = trace_every
        self._steps = 0
        self.trace: list[dict[str, Tensor]] = []

    def loss(self, batch: Batch) -> tuple[Float[Tensor, ""], Readings]:
        """The sum over instances; ``worst`` is the largest loss of one."""
        if self.trace_every and self._steps % self.trace_every == 0:
            state = self.module.state_dict()
            self.trace.append({name: value.clone() for name, value in state.items()})
        self._steps += 1
        errors = self.errors(batch).mean(1)
        return errors.sum(), {"worst": errors.detach().max()}

    def errors(self, batch: Batch) -> Float[Tensor, "instance sample"]:
        """The weighted squared error of each instance on each of its samples."""
        error = self.module(batch) - self.module.target(batch)
        return (error.square() * self.importance).sum(2)

    def renew(self) -> Sequence[tuple[nn.Parameter, Tensor]]:
        """Nothing begins anew."""
        return ()

    def at_work(self) -> AbstractContextManager[None]:
        """torch's own loops use every thread."""
        return nullcontext()

    def state_dict(self) -> dict[str, Any]:
        """Parameters, and what was traced."""
        return {
            "module": self.module.state_dict(), "steps": self._steps,
            "trace": list(self.trace),
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` gave."""
        self.module.load_state_dict(state["module"])
        self._steps = int(state["steps"])
        self.trace = list(state["trace"])


@torch.no_grad()
def held_out(program: LearnToys, batches: Sequence[Batch]) -> Float[Tensor, "instance"]:
    """Each instance's mean error over `batches`."""
    return torch.stack([program.errors(batch).mean(1) for batch in batches]).mean(0)
