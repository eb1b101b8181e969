"""Worlds of continuous values: circles, tori and curves, free or gated by a discrete feature."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from monosemy.data.features.building import Forest
from monosemy.data.features.directions import random_directions, random_subspace
from monosemy.data.features.law import AXES, Rule
from monosemy.data.features.world import World
from monosemy.foundation.errors import refuse
from monosemy.tensors.compute import Compute

_KINDS = {"circles": Rule.CIRCLE, "tori": Rule.TORUS, "curves": Rule.CURVE}


@dataclass(frozen=True)
class ManifoldConfig:
    """A world in which some values lie on manifolds in small subspaces.

    A manifold that is active has a point, uniform over its angles, and an activation:

        circle  (cos s, sin s)
        torus   (cos s, sin s, cos t, sin t) / sqrt 2
        curve   (cos s, sin s, sin 2s) · sqrt(2/3)

    so that each has mean zero and mean squared length one. Its subspace is random, and the axes of
    the subspace are the world's features: they are active together, with values of either sign.
    """

    width: int = 24
    """Numbers in an activation vector."""
    discrete: int = 0
    """Features that have nothing continuous about them."""
    circles: int = 0
    """Manifolds in 2 dimensions."""
    tori: int = 0
    """Manifolds in 4 dimensions."""
    curves: int = 0
    """Manifolds in 3 dimensions that lie in no plane."""
    gated: bool = False
    """Whether each manifold stands below a discrete feature with a direction of its own."""
    rate: float = 0.06
    """Probability that a manifold, or a discrete feature, is active."""
    size: tuple[float, float] = (1.0, 2.0)
    """Smallest and largest activation."""
    value_size: float = 0.6
    """How large a gated value is, in parts of its gate's activation."""
    noise: float = 0.02
    """Standard deviation of noise on every coordinate."""


def manifold_world(config: ManifoldConfig, seed: int = 0, name: str = "manifolds") -> World:
    """The world of `config`; the seed fixes its directions and subspaces.

    Errors
    ------
    `UserError` with all reasons, where no such world can be.
    """
    refuse(list(_unfit(config)), "this world of manifolds")
    draw = Compute(seed=seed).generator("manifold world")
    forest = Forest(uniform=True)
    mean, spread = (config.size[1] + config.size[0]) / 2, (config.size[1] - config.size[0]) / 2
    gates = _count(config) if config.gated else 0
    directions = random_directions(config.discrete + gates, config.width, draw)
    for direction in directions[: config.discrete]:
        forest.feature(direction, -1, config.rate, Rule.ALONE, mean, spread)
    rules = [rule for kind, rule in _KINDS.items() for _ in range(getattr(config, kind))]
    for chart, rule in enumerate(rules):
        if config.gated:
            direction = directions[config.discrete + chart]
            above = forest.feature(direction, -1, config.rate, rule, mean, spread)
        else:
            above = forest.gate(config.rate, rule, mean, spread)
        gain = config.value_size if config.gated else 1.0
        for axis in random_subspace(config.width, AXES[rule], draw):
            forest.feature(axis, above, 1.0, Rule.ALONE, 0.0, 0.0, gain, chart)
    return forest.world(name, config.noise)


def _count(config: ManifoldConfig) -> int:
    return config.circles + config.tori + config.curves


def _unfit(config: ManifoldConfig) -> Iterator[str]:
    for name in ("discrete", *_KINDS):
        if (value := getattr(config, name)) < 0:
            yield f"{name} is {value}; wanted 0 or more"
    if config.discrete + _count(config) < 1:
        yield "there is nothing in this world; ask for discrete features, circles, tori or curves"
    for kind, rule in _KINDS.items():
        if getattr(config, kind) > 0 and AXES[rule] > config.width:
            yield f"{kind} need {AXES[rule]} dimensions and the width is {config.width}"
    if not 0 < config.rate <= 1:
        yield f"rate is {config.rate}; wanted a probability above 0, at most 1"
    low, high = config.size
    if not 0 < low <= high:
        yield f"size is from {low} to {high}; wanted 0 < smallest <= largest"
    if not config.value_size > 0:
        yield f"value_size is {config.value_size}; wanted above 0"
    if not config.noise >= 0:
        yield f"noise is {config.noise}; wanted 0 or more"
