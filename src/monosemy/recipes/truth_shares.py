"""Progress of a cell as shares of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from monosemy.foundation.progress import Task

# Of a cell's time, about.
_MEASURING = 0.1


class Shares:
    """A cell is one unit of work: learning is nine tenths of it, measuring the rest.

    Parameters
    ----------
    tell : is called with the share that was done since the last call, a percent at a time.
    """

    def __init__(self, tell: Callable[[float], None]):
        self._tell = tell

    @contextmanager
    def task(self, description: str, total: float, unit: str = "") -> Iterator[Task]:
        """See `foundation.progress.Progress`."""
        weight = _MEASURING if description == "measure" else 1 - _MEASURING
        share = _Share(self._tell, weight / max(total, 1))
        yield share
        share.tell()


class _Share:
    def __init__(self, tell: Callable[[float], None], unit: float):
        self._tell, self._unit, self._untold = tell, unit, 0.0

    def advance(self, amount: float = 1, note: str = "") -> None:
        """Tell once a percent."""
        self._untold += amount * self._unit
        if self._untold >= 0.01:
            self.tell()

    def tell(self) -> None:
        """Say what was not said yet."""
        self._tell(self._untold)
        self._untold = 0.0
