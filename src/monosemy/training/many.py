"""Many dictionaries from one stream: every batch is read once, and each learns as it would alone.

On a processor each dictionary takes its step in one thread, several side by side: threads that
share the loops of one dictionary wait for each other a dozen times a step, these twice. What a
dictionary learns does not depend on its company.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from monosemy.tensors import workers
from monosemy.tensors.axes import Activations, Float, Tensor
from monosemy.training.loop import Program, Readings
from monosemy.training.optim import OptimConfig, Optimiser

Columns = tuple[tuple[int, int], ...]
"""Stretches of columns, each from a first to before a last, in the order a dictionary sees them."""


class LearnMany:
    """``sum_i loss_i`` over programs that have no parameter in common, one batch for all.

    The gradient of each is taken where its loss is, in the same thread, and is in place when `loss`
    returns; the scalar that it returns is a constant, whose own backward pass does nothing.

    Parameters
    ----------
    programs : by name; each is what a training of its own would be given.
    columns : for each name, the columns of the batch that it sees; all where it is left out.
    """

    def __init__(
        self, programs: Mapping[str, Program], columns: Mapping[str, Columns] | None = None
    ):
        self.programs = dict(programs)
        self.columns = {name: (columns or {}).get(name, ()) for name in programs}
        self.module = nn.ModuleList(program.module for program in self.programs.values())
        self._order = _largest_first(self.programs)

    def loss(self, batch: Activations) -> tuple[Float[Tensor, ""], Readings]:
        """See the class. Readings: those of each program, and its ``loss``, as ``NAME/reading``."""
        seen = {columns: take(batch, columns) for columns in set(self.columns.values())}
        found: dict[str, tuple[Tensor, Readings]] = {}

        def learn(name: str) -> None:
            loss, readings = self.programs[name].loss(seen[self.columns[name]])
            loss.backward()
            found[name] = loss.detach(), readings

        side_by_side(learn, self._order, batch.device)
        readings = {
            f"{name}/{reading}": value
            for name in self.programs
            for reading, value in ({"loss": found[name][0]} | found[name][1]).items()
        }
        total = torch.stack([found[name][0] for name in self.programs]).sum()
        return total.requires_grad_(), readings

    def renew(self) -> Sequence[tuple[nn.Parameter, Tensor]]:
        """What each of them sets anew."""
        return [new for program in self.programs.values() for new in program.renew()]

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """What each of them wants."""
        with ExitStack() as stack:
            for program in self.programs.values():
                stack.enter_context(program.at_work())
            yield

    def state_dict(self) -> dict[str, Any]:
        """The state of each, by name."""
        return {name: program.state_dict() for name, program in self.programs.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up a state saved by `state_dict`."""
        for name, program in self.programs.items():
            program.load_state_dict(state[name])


class OptimiseMany:
    """An `Optimiser` for each program, with its own learning rate, clip and moments.

    To the loop it is one (see `loop.Updater`); it owns no parameter itself.

    Parameters
    ----------
    programs : by name, no parameter in common.
    configs : for each name.
    steps : of the whole run.
    """

    def __init__(
        self, programs: Mapping[str, Program], configs: Mapping[str, OptimConfig], steps: int
    ):
        self.each = {
            name: Optimiser(program.module.parameters(), configs[name], steps)
            for name, program in programs.items()
        }
        self._order = _largest_first(programs)
        self._device = next(p for one in programs.values() for p in one.module.parameters()).device

    def step(self, step: int) -> Readings:
        """Apply the gradients of step `step` and clear them; readings as ``NAME/reading``."""
        found: dict[str, Readings] = {}

        def update(name: str) -> None:
            found[name] = self.each[name].step(step)

        side_by_side(update, self._order, self._device)
        return {f"{name}/{key}": value for name in self.each for key, value in found[name].items()}

    def forget(self, parameter: nn.Parameter, rows: Tensor) -> None:
        """See `Optimiser`; only one of them knows the parameter."""
        for optimiser in self.each.values():
            optimiser.forget(parameter, rows)

    def state_dict(self) -> dict[str, Any]:
        """The moments of each, by name."""
        return {name: optimiser.state_dict() for name, optimiser in self.each.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up moments saved by `state_dict`."""
        for name, optimiser in self.each.items():
            optimiser.load_state_dict(state[name])


def side_by_side(
    work: Callable[[str], None], names: Sequence[str], device: torch.device | str
) -> None:
    """Call `work` for every name, each in one thread where there are enough of them for that.

    The next one goes to whichever thread is free, so the longest should come first. With fewer
    than half as many names as threads, and on an accelerator, one follows the other and each
    uses all there is.
    """
    threads = len(workers.share_out(2 * len(names)))
    if torch.device(device).type != "cpu" or threads >= 2 * len(names):
        for name in names:
            work(name)
        return
    waiting = deque(names)

    def take_turns(start: int, stop: int) -> None:
        while True:
            try:
                name = waiting.popleft()
            except IndexError:
                return
            work(name)

    workers.run(take_turns, workers.share_out(len(names)))


def _largest_first(programs: Mapping[str, Program]) -> list[str]:
    sizes = {
        name: sum(p.numel() for p in one.module.parameters()) for name, one in programs.items()
    }
    return sorted(sizes, key=lambda name: -sizes[name])


def take(batch: Activations, columns: Columns) -> Float[Tensor, "token _"]:
    """These columns of the batch; the batch itself where none are named."""
    if not columns:
        return batch
    parts = [batch[:, first:last] for first, last in columns]
    return (parts[0] if len(parts) == 1 else torch.cat(parts, 1)).contiguous()
