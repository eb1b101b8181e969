"""When the parts of a local dictionary begin: a function of the step alone."""

from __future__ import annotations

from monosemy.training.local_config import LocalConfig


class Stages:
    """From ``begin`` on parents explain; charts are found ``times`` times a level, until ``until``.

    Moments lie evenly. Levels begin one after the other: level ``i`` of ``n`` has the ``i``-th part of
    the time between.

    Parameters
    ----------
    config : shares of the run.
    steps : of the run.
    levels : of children.
    """

    def __init__(self, config: LocalConfig, steps: int, levels: int):
        self.first = round(config.begin * steps)
        last = max(round(config.until * steps), self.first + 1)
        moments = config.times * levels
        # Each moment is followed by as much time as led up to it; the first has a stretch before it.
        each = max((last - self.first) / moments, 1)
        self.at = {self.first + max(round(each * (n + 1)), 1): n // config.times
                   for n in range(moments)}  # fmt: skip
        self.stretch = max(round(each), 1)

    def explains(self, step: int) -> bool:
        """Whether parents no longer learn alone."""
        return step >= self.first

    def gathers(self, step: int) -> int | None:
        """The level whose residuals step `step` (from 0) keeps, if any."""
        return next(
            (level for moment, level in self.at.items() if moment - self.stretch <= step < moment),
            None,
        )

    def due(self, done: int) -> int | None:
        """The level whose charts are to be found when `done` steps are."""
        return self.at.get(done)

    def again(self, done: int) -> bool:
        """Whether charts are found once more after `done` steps."""
        return any(moment > done for moment in self.at)
