"""Conditional worlds: exclusive parents whose children live in small subspaces, shared or not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from monosemy.data.features.building import Forest
from monosemy.data.features.directions import (
    random_directions,
    random_rotation,
    random_subspace,
    spread_points,
)
from monosemy.data.features.law import Rule
from monosemy.data.features.world import World
from monosemy.foundation.errors import nearest, refuse
from monosemy.tensors.axes import Float, Tensor
from monosemy.tensors.compute import Compute

SHARING = {
    "rotated": "the parents of a group share a subspace; each turns its children in it as it likes",
    "analogy": "the parents of a group share a subspace, and the same children in it",
    "unshared": "every parent has a subspace of its own",
}


@dataclass(frozen=True)
class ConditionalConfig:
    """A world in which features share directions because they never meet.

    Groups are independent. A group that is on has exactly one active parent, and an active parent
    has at most one active child. Children are well-spread points of a chart, a subspace of few
    dimensions: with 4 children in 3 dimensions, the corners of a tetrahedron.
    """

    sharing: str = "rotated"
    """Who shares a chart: ``rotated``, ``analogy`` or ``unshared``; see `SHARING`."""
    width: int = 48
    """Numbers in an activation vector."""
    groups: int = 12
    """Groups of mutually exclusive parents."""
    parents: int = 8
    """Parents in a group."""
    children: int = 4
    """Children of a parent, and of a child where the world is deeper."""
    depth: int = 2
    """Levels: 1 has parents only, 2 parents and children, 3 children of children."""
    rank: int = 3
    """Dimensions of a chart."""
    group_rate: float = 0.15
    """Probability that a group is on."""
    child_rate: float = 0.8
    """Probability that an active feature with children has an active child."""
    parent_size: tuple[float, float] = (1.0, 2.0)
    """Smallest and largest activation of a parent."""
    child_size: tuple[float, float] = (0.4, 0.8)
    """Smallest and largest activation of a child, in parts of its parent's."""
    noise: float = 0.02
    """Standard deviation of noise on every coordinate."""


def conditional_world(config: ConditionalConfig, seed: int = 0, name: str = "") -> World:
    """The world of `config`; the seed fixes its directions.

    Errors
    ------
    `UserError` with all reasons, where no such world can be.
    """
    refuse(_unfit(config), "this conditional world")
    draw = Compute(seed=seed).generator("conditional world")
    forest = Forest(uniform=True)
    charts = _Charts(config, draw)
    per_group = config.parents
    tops = random_directions(config.groups * per_group, config.width, draw)
    level = []
    for group in range(config.groups):
        gate = forest.gate(config.group_rate, Rule.CHOICE)
        for number in range(per_group):
            level.append((forest.feature(
                tops[group * per_group + number], gate, 1 / per_group, Rule.CHOICE,
                mean=_middle(config.parent_size), spread=_half(config.parent_size),
            ), group))  # fmt: skip
    for depth in range(1, config.depth):
        below = []
        for parent, group in level:
            chart, corners = charts.corners(depth, group, parent)
            for corner in corners:
                below.append((forest.feature(
                    corner, parent, config.child_rate / config.children, Rule.CHOICE,
                    mean=_middle(config.child_size), spread=_half(config.child_size), gain=1.0,
                    chart=chart,
                ), group))  # fmt: skip
        level = below
    return forest.world(name or f"conditional-{config.sharing}", noise=config.noise)


class _Charts:
    """Subspaces, drawn as they are first needed, and the children that lie in them."""

    def __init__(self, config: ConditionalConfig, draw: torch.Generator):
        self.config, self.draw = config, draw
        self.points = spread_points(config.children, config.rank)
        self.drawn: dict[tuple[int, int], tuple[int, Tensor]] = {}

    def corners(
        self, depth: int, group: int, parent: int
    ) -> tuple[int, Float[Tensor, "child width"]]:
        """The chart of the children of `parent`, and their directions."""
        config = self.config
        key = (depth, parent if config.sharing == "unshared" else group)
        if key not in self.drawn:
            axes = random_subspace(config.width, config.rank, self.draw)
            if config.sharing == "analogy":
                axes = random_rotation(config.rank, self.draw) @ axes
            self.drawn[key] = (len(self.drawn), axes)
        number, axes = self.drawn[key]
        if config.sharing != "analogy":
            axes = random_rotation(config.rank, self.draw) @ axes
        return number, self.points @ axes


def _middle(size: tuple[float, float]) -> float:
    return (size[0] + size[1]) / 2


def _half(size: tuple[float, float]) -> float:
    return (size[1] - size[0]) / 2


def _unfit(config: ConditionalConfig) -> list[str]:
    return [*_miscounted(config), *_misrated(config)]


def _miscounted(config: ConditionalConfig) -> Iterator[str]:
    if config.sharing not in SHARING:
        close = nearest(config.sharing, SHARING)
        yield f"unknown sharing {config.sharing!r}; known: {', '.join(SHARING)}{close}"
    for name in ("width", "groups", "parents", "children", "depth", "rank"):
        if (value := getattr(config, name)) < 1:
            yield f"{name} is {value}; wanted at least 1"
    if config.rank > config.width:
        yield (
            f"charts of rank {config.rank} do not fit in {config.width} dimensions; "
            f"use a rank of at most {config.width}"
        )
    if config.rank == 1 and config.children > 2:
        yield f"{config.children} children on one line coincide; use a rank of at least 2"


def _misrated(config: ConditionalConfig) -> Iterator[str]:
    for name in ("group_rate", "child_rate"):
        if not 0 < (rate := getattr(config, name)) <= 1:
            yield f"{name} is {rate}; wanted a probability above 0, at most 1"
    for name in ("parent_size", "child_size"):
        low, high = getattr(config, name)
        if not 0 < low <= high:
            yield f"{name} is from {low} to {high}; wanted 0 < smallest <= largest"
    if not config.noise >= 0:
        yield f"noise is {config.noise}; wanted 0 or more"
