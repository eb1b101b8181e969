"""Progress that a caller may watch: the work reports, whoever started it decides how to show it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, runtime_checkable


@runtime_checkable
class Task(Protocol):
    """One piece of work under way."""

    def advance(self, amount: float = 1, note: str = "") -> None:
        """`amount` more units are done; `note` is a short reading to show beside the bar."""


@runtime_checkable
class Progress(Protocol):
    """Opens tasks. The command line passes one that draws bars with rate and time left."""

    def task(self, description: str, total: float, unit: str = "") -> AbstractContextManager[Task]:
        """A task of `total` units, closed when the block ends."""


class _SilentTask:
    def advance(self, amount: float = 1, note: str = "") -> None:
        """Nothing to show."""


class Silent:
    """Shows nothing: the default wherever a `progress` argument is taken."""

    @contextmanager
    def task(self, description: str, total: float, unit: str = "") -> Iterator[Task]:
        """A task that nobody watches."""
        yield _SilentTask()


SILENT = Silent()
