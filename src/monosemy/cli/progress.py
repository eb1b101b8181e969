"""Bars with rate and time left on a terminal; a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Task as RichTask
from rich.text import Text

from monosemy.foundation.progress import SILENT
from monosemy.foundation.progress import Progress as AnyProgress
from monosemy.foundation.progress import Task as AnyTask

# Where nobody watches a bar move (a log file, continuous integration), a line this often.
LINE_EVERY = 15.0


def choose(quiet: bool) -> AnyProgress:
    """Bars on standard error if it is a terminal, lines if it is not, nothing if `quiet`."""
    if quiet:
        return SILENT
    return Bars() if sys.stderr.isatty() else Lines()


class Bars:
    """Draws a bar for every open task, with its rate, time left and latest reading."""

    @contextmanager
    def task(self, description: str, total: float, unit: str = "") -> Iterator[AnyTask]:
        """See `foundation.progress.Progress`."""
        columns = (
            TextColumn("{task.description:>10}"),
            BarColumn(bar_width=30),
            TextColumn("{task.percentage:>3.0f}%"),
            _Rate(),
            TimeRemainingColumn(compact=True),
            TextColumn("[dim]{task.fields[note]}"),
        )
        with Progress(*columns, console=Console(stderr=True), transient=False) as bars:
            number = bars.add_task(description, total=total, unit=unit, note="")
            yield _Bar(bars, number)


class _Bar:
    def __init__(self, bars: Progress, number: TaskID):
        self.bars, self.number = bars, number

    def advance(self, amount: float = 1, note: str = "") -> None:
        self.bars.advance(self.number, amount)
        if note:
            self.bars.update(self.number, note=note)


class _Rate(ProgressColumn):
    def render(self, task: RichTask) -> Text:
        speed = task.finished_speed or task.speed
        if speed is None:
            return Text("")
        return Text(f"{_short(speed)} {task.fields['unit']}/s", style="cyan")


class Lines:
    """Writes a line when a task ends and every `LINE_EVERY` seconds before."""

    @contextmanager
    def task(self, description: str, total: float, unit: str = "") -> Iterator[AnyTask]:
        """See `foundation.progress.Progress`."""
        line = _Line(description, total, unit)
        yield line
        line.say("done")


class _Line:
    def __init__(self, description: str, total: float, unit: str):
        self.description, self.total, self.unit = description, total, unit
        self.done, self.note = 0.0, ""
        self.began = self.spoke = time.monotonic()

    def advance(self, amount: float = 1, note: str = "") -> None:
        self.done += amount
        self.note = note or self.note
        if time.monotonic() - self.spoke > LINE_EVERY:
            self.say("")

    def say(self, how: str) -> None:
        self.spoke = time.monotonic()
        passed = max(self.spoke - self.began, 1e-9)
        rate = self.done / passed
        left = f", {(self.total - self.done) / rate:.0f} s left" if not how and rate else ""
        print(
            f"{self.description}: {self.done:,.0f} of {self.total:,.0f} {self.unit} "
            f"in {passed:.1f} s ({_short(rate)}/s{left}) {self.note}".rstrip(),
            file=sys.stderr,
            flush=True,
        )


def _short(number: float) -> str:
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.1f}{letter}"
    return f"{number:.1f}"
