"""The one loop: the main road of training.

Whatever is trained is a `Program`: it owns the parameters and turns a batch into a loss. The loop
knows nothing else about it, so dictionaries and the specimen are trained by the same lines.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn

from monosemy.foundation.errors import Interrupted, UserError
from monosemy.foundation.progress import SILENT, Progress
from monosemy.tensors.axes import Float, Tensor
from monosemy.training.journal import Journal
from monosemy.training.pace import Pace, say

Readings = dict[str, Tensor]


@runtime_checkable
class Program(Protocol):
    """What is learned, and from what loss."""

    @property
    def module(self) -> nn.Module:
        """Owner of the parameters."""

    def loss(self, batch: Tensor) -> tuple[Float[Tensor, ""], Readings]:
        """The scalar to be lowered, and readings for the journal (scalars, left on the device)."""

    def renew(self) -> Sequence[tuple[nn.Parameter, Tensor]]:
        """After an update: sets anew what is to begin anew, and says so.

        Each parameter with the rows that were written to (of a vector, the numbers): the optimiser
        forgets their past. Mostly there are none.
        """

    def at_work(self) -> AbstractContextManager[None]:
        """Around every step: what the program wants of the machine meanwhile."""

    def state_dict(self) -> dict[str, Any]:
        """All that changes while learning, parameters included."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up a state saved by `state_dict`."""


@runtime_checkable
class Updater(Protocol):
    """What applies the gradients; see `optim.Optimiser`."""

    def step(self, step: int) -> Readings:
        """Apply the gradients of step `step` and clear them; readings for the journal."""

    def forget(self, parameter: nn.Parameter, rows: Tensor) -> None:
        """`rows` of `parameter` begin anew."""

    def state_dict(self) -> dict[str, Any]:
        """All that changes while learning, moments included."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up a state saved by `state_dict`."""


@runtime_checkable
class Stream(Protocol):
    """Batches without end, or for as long as the run needs."""

    def __next__(self) -> Tensor:
        """The next batch."""

    @property
    def seconds(self) -> dict[str, float]:
        """Wall time that `__next__` has taken so far, by `pace.PARTS`."""

    def state_dict(self) -> dict[str, Any]:
        """Where the stream stands."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to where a stream stood."""


@dataclass(frozen=True)
class Rhythm:
    """How often the loop does what it does beside learning, in steps."""

    log: int = 50
    """A line of metrics."""
    checkpoint: int = 500
    """A resumable state on disk."""
    observe: int = 1000
    """A call of the observer, where one is given."""


@dataclass
class Training:
    """Everything one run needs; `fit` makes it go."""

    program: Program
    optimiser: Updater
    stream: Stream
    steps: int
    rhythm: Rhythm = field(default_factory=Rhythm)
    observer: Callable[[], dict[str, float]] | None = None
    """Measures the program between steps (held-out loss, say); its readings are logged."""
    tokens_per_step: int = 0
    """For the rate shown while training."""
    pace: Pace = field(init=False)
    """Of this process; `fit` starts it anew."""

    def __post_init__(self) -> None:
        self.start_pace()

    def start_pace(self) -> None:
        """Time counts from now on."""
        self.pace = Pace(self.stream.seconds, self.tokens_per_step)

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run needs to go on bit for bit."""
        return {
            "program": self.program.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "stream": self.stream.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` gave."""
        self.program.load_state_dict(state["program"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.stream.load_state_dict(state["stream"])


def fit(training: Training, journal: Journal, progress: Progress = SILENT) -> None:
    """Train to the last step, from wherever the journal left off.

    Every logged line says how fast it went, and where the time went, since this call (see
    `pace.Pace.readings`); so does the last reading beside the bar.

    Errors
    ------
    `Interrupted` after SIGINT or SIGTERM, with the state saved. `UserError` where the loss is not
    finite, naming the step; the last checkpoint stands.
    """
    begin = _resume(training, journal)
    unit = "tokens" if training.tokens_per_step else "steps"
    size = training.tokens_per_step or 1
    with stop_requests() as stopped, progress.task("train", training.steps * size, unit) as task:
        task.advance(begin * size)
        training.start_pace()
        for step in range(begin, training.steps):
            loss, readings = advance(training, step)
            note = _record(training, journal, begin, step + 1, loss, readings)
            task.advance(size, note)
            if stopped():
                _refuse_not_finite(loss, step + 1, journal)
                journal.save(step + 1, training.state_dict())
                raise Interrupted(
                    f"stopped after step {step + 1:,} of {training.steps:,}; the state is saved in "
                    f"{journal.folder}. Run the same command again to go on from there"
                )


def advance(training: Training, step: int) -> tuple[Tensor, Readings]:
    """One step: the next batch, its loss and gradients, the update."""
    batch = next(training.stream)
    with training.pace.clock.counting("step"):
        return advance_program(training.program, training.optimiser, batch, step)


def advance_program(
    program: Program, optimiser: Updater, batch: Tensor, step: int
) -> tuple[Tensor, Readings]:
    """What a step does to a program and its optimiser, given the batch."""
    with program.at_work():
        loss, readings = program.loss(batch)
        loss.backward()
        readings |= optimiser.step(step)
        for parameter, rows in program.renew():
            optimiser.forget(parameter, rows)
    return loss.detach(), readings


def _resume(training: Training, journal: Journal) -> int:
    state = journal.load()
    if state is None:
        return 0
    training.load_state_dict(state)
    return int(state["step"])


def _record(
    training: Training, journal: Journal, begin: int, done: int, loss: Tensor, readings: Readings
) -> str:
    """Log, observe and save where due; returns a short reading for the progress bar."""
    rhythm, last = training.rhythm, done == training.steps
    logs, saves = (last or done % every == 0 for every in (rhythm.log, rhythm.checkpoint))
    note = ""
    if logs or saves:
        _refuse_not_finite(loss, done, journal)
    if logs:
        values = {"loss": float(loss)} | {name: float(value) for name, value in readings.items()}
        if training.observer and (last or done % rhythm.observe == 0):
            values |= training.observer()
        speed = training.pace.readings(training.stream.seconds, done - begin)
        journal.log(done, values | speed | {"time": round(time.time(), 3)})
        note = f"loss {values['loss']:.4g}" + (f" ({say(speed)})" if last else "")
    if saves:
        journal.save(done, training.state_dict())
    return note


def _refuse_not_finite(loss: Tensor, done: int, journal: Journal) -> None:
    """Looked at before anything is logged or saved, so that every checkpoint can be gone on from."""
    if not torch.isfinite(loss):
        raise UserError(
            f"the loss became {float(loss)} at step {done}; lower the learning rate. "
            f"The last checkpoint in {journal.folder} stands"
        )


@contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """While the block runs, SIGINT and SIGTERM ask it to stop; the value says whether one came.

    A second request acts at once, as if nobody listened. Outside the main thread, where Python
    cannot listen for signals, nothing ever asks.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def ask(number: int, frame: FrameType | None) -> None:
        asked.set()
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, ask)
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
