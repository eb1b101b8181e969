"""How fast a run goes, and what its time went into."""

from __future__ import annotations

import time
from collections.abc import Mapping

from monosemy.foundation.clock import Clock

PARTS = ("model", "input", "buffer", "step", "other")
"""What time goes into: running the model that is read, waiting for files or tokens, shuffling, the
training step itself, and everything else (metrics, checkpoints, observers)."""


class Pace:
    """Tokens a second and the share of wall time of each of `PARTS`, from its making on.

    What the stream spent before counts as well: its first block is read for the look at the data.

    Attributes
    ----------
    clock : the loop counts its steps here.

    Parameters
    ----------
    stream : the `seconds` of the stream so far.
    tokens : tokens of a step; 0 where they are not counted.
    """

    def __init__(self, stream: Mapping[str, float], tokens: int):
        self.clock = Clock()
        self._tokens = tokens
        self._began = time.perf_counter() - sum(stream.values())

    def readings(self, stream: Mapping[str, float], steps: int) -> dict[str, float]:
        """``tokens_per_second`` and, as ``share_step`` and so on, the shares of time that are not 0.

        Takes the stream's `seconds` by now and the steps done since the beginning.
        """
        passed = time.perf_counter() - self._began
        spent = {**stream, **self.clock.seconds}
        spent["other"] = max(passed - sum(spent.values()), 0.0)
        shares = {
            f"share_{name}": round(spent[name] / passed, 4) for name in PARTS if name in spent
        }
        speed = {"tokens_per_second": round(steps * self._tokens / passed, 1)}
        return (speed if self._tokens else {}) | shares


def say(readings: Mapping[str, float]) -> str:
    """``model 71 %, buffer 2 %, step 25 %``: the shares in `readings` that round to 1 % or more."""
    shares = {name: readings.get(f"share_{name}", 0.0) for name in PARTS}
    return ", ".join(
        f"{name} {share:.0%}".replace("%", " %") for name, share in shares.items() if share >= 0.005
    )
