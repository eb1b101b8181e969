"""What a local dictionary is made of, and when its stages begin."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, fields

from monosemy.foundation.errors import refuse

ONE_EACH, FOUND = 0, -1
"""Charts: one for each parent; as many as the sharing curve has its knee at."""


@dataclass(frozen=True)
class LocalConfig:
    """Children of the latents, in charts that they share (``encoder = local``)."""

    children: int = 4
    """Children of each parent."""
    charts: int = 0
    """Subspaces that parents share; 0 gives each parent its own, -1 finds how many are worth having."""
    random_charts: bool = False
    """Charts and routes are drawn at random and stay so: a control."""
    rank: int = 4
    """Dimensions of a chart."""
    depth: int = 2
    """Levels of features: 2 is parents and children, 3 has children of children."""
    l0: float = 0.0
    """Active features of a token on average, parents and children; 0 takes the recipe's k."""
    share: float = 0.5
    """Share of the active features that are children; the levels below parents get equal parts."""
    proposals: float = 1.7
    """Parents that the linear encoder proposes, as a multiple of those that stay active."""
    rounds: int = 1
    """Rounds in which active features explain what the others leave, before the last."""
    begin: float = 0.4
    """Share of all steps in which parents learn alone."""
    until: float = 0.75
    """Share of all steps after which charts and routes stay as they are."""
    times: int = 5
    """How often charts are found and routes set anew in between."""
    samples: int = 64
    """Residuals of each parent that charts are found from."""

    def __post_init__(self) -> None:
        wanted = {
            "children": (self.children >= 1, "at least 1"),
            "charts": (self.charts >= FOUND, "a number, 0 for one each, or -1 to find it"),
            "rank": (self.rank >= 1, "at least 1"),
            "depth": (self.depth >= 2, "at least 2"),
            "l0": (0 <= self.l0 < math.inf, "at least 0"),
            "share": (0 <= self.share < 1, "0 to below 1"),
            "proposals": (1 <= self.proposals < math.inf, "at least 1"),
            "rounds": (self.rounds >= 0, "at least 0"),
            "begin": (0 <= self.begin < 1, "0 to below 1"),
            "until": (self.begin <= self.until <= 1, f"{self.begin} (begin) to 1"),
            "times": (self.times >= 1, "at least 1"),
            "samples": (self.samples >= 2, "at least 2"),
        }
        refuse(
            [
                f"{name} = {getattr(self, name)}; wanted {range_}"
                for name, (fits, range_) in wanted.items()
                if not fits
            ],
            "the local dictionary's configuration",
        )

    def changed(self, besides: Collection[str] = ()) -> dict[str, object]:
        """Keys that are not as they are by themselves, but for those named, and their values."""
        return {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if field.name not in besides and getattr(self, field.name) != field.default
        }

    def refuse_for(self, parents: int, k: float, width: int | None = None) -> list[str]:
        """Why a dictionary of so many parents, `k` active features and `width` cannot be."""
        reasons = []
        if self.charts > parents:
            reasons.append(f"local.charts = {self.charts:,} for {parents:,} parents; wanted at most "
                           "one each")  # fmt: skip
        if self.active(k)[0] * self.proposals > parents:
            reasons.append(
                f"k = {self.l0 or k:g} with local.share = {self.share:g} and local.proposals = "
                f"{self.proposals:g} proposes {self.active(k)[0] * self.proposals:g} of "
                f"{parents:,} parents; wanted at most all"
            )
        if width is not None and self.rank > width:
            reasons.append(
                f"local.rank = {self.rank} where activations have {width} numbers; a chart has at "
                "most as many dimensions"
            )
        return reasons

    def active(self, k: float) -> tuple[float, ...]:
        """How many of `l0` or `k` active features are parents, children, children of children, ..."""
        below, k = self.depth - 1, self.l0 or k
        return (k * (1 - self.share), *[k * self.share / below] * below)

    def proposed(self, k: float) -> int:
        """How many parents the linear encoder proposes."""
        return max(round(self.active(k)[0] * self.proposals), 1)

    def bearers(self, parents: int) -> tuple[int, ...]:
        """Who has children: the parents, their children, ..."""
        return tuple(parents * self.children**level for level in range(self.depth - 1))

    def latents(self, parents: int) -> int:
        """Features in all."""
        return parents + sum(many * self.children for many in self.bearers(parents))
