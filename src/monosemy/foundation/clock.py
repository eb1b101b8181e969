"""Where wall time goes: seconds by the name of what they went into."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """Adds up the seconds that blocks of code take, name by name; what is in no block is not seen.

    An accelerator works on after its orders were given, so what is seen there is the time to give
    them, and to wait wherever something waits for a result.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def counting(self, name: str) -> Iterator[None]:
        """The time that the block takes counts for `name`, however the block ends."""
        began = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - began
            self.seconds[name] = self.seconds.get(name, 0.0) + spent
