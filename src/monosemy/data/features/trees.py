"""Worlds of trees: frequent features with rarer ones below, correlated, in superposition."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from monosemy.data.features.building import described
from monosemy.data.features.directions import orthogonalised, random_directions, unit
from monosemy.data.features.frequencies import first_order_chances, forest_parents, zipf_rates
from monosemy.data.features.law import Law, Rule
from monosemy.data.features.world import World
from monosemy.foundation.errors import refuse
from monosemy.tensors.axes import Float, Tensor
from monosemy.tensors.compute import Compute

# Least variance that a feature keeps to itself, whatever it has in common with others.
_LEAST_OWN = 0.01


@dataclass(frozen=True)
class TreeConfig:
    """A world in the manner of SynthSAEBench (arXiv 2602.14687); the defaults are its 16k model.

    Features are numbered from the most to the least frequent. The first are roots of trees, the
    next their children, and so on; the rarest stand alone.
    """

    features: int = 16_384
    """How many features there are."""
    width: int = 768
    """Numbers in an activation vector."""
    exponent: float = 0.5
    """Of Zipf's law; see `zipf_rates`."""
    most: float = 0.4
    """Rate that is wanted of the most frequent feature."""
    least: float = 5e-4
    """Rate that is wanted of the rarest."""
    roots: int = 128
    """Trees."""
    branching: int = 4
    """Children of every feature above the last level."""
    depth: int = 3
    """Levels below the roots; 0 for no hierarchy."""
    exclusive: bool = True
    """Whether of several siblings that fire one stays, at random."""
    compensated: bool = True
    """Whether chances are raised for what the hierarchy takes away, to first order."""
    scaled: bool = True
    """Whether a child's activation is multiplied by its parent's over the parent's mean."""
    mean: tuple[float, float] = (5.0, 4.0)
    """Mean activation of the most and of the least frequent feature; linear between them."""
    spread: tuple[float, float] = (0.5, 0.5)
    """Each feature's standard deviation is ``|N(first, second²)|``."""
    rank: int = 25
    """Numbers that all features have in common in their copula; 0 for no correlation."""
    correlation: float = 0.1
    """Standard deviation of the loadings on these."""
    steps: int = 100
    """Steps by which directions are pushed apart; 0 leaves them random."""
    rate: float = 3e-4
    """Learning rate of these steps."""
    bias: float = 0.5
    """Length of the bias."""
    noise: float = 0.0
    """Standard deviation of noise on every coordinate."""


def tree_world(config: TreeConfig, seed: int = 0, name: str = "trees") -> World:
    """The world of `config`; the seed fixes its directions, loadings, spreads and bias.

    Errors
    ------
    `UserError` with all reasons, where no such world can be.
    """
    refuse(list(_unfit(config)), "this world of trees")
    compute = Compute(seed=seed)
    law = tree_law(config, compute)
    draw = compute.generator("world directions")
    directions = random_directions(config.features, config.width, draw)
    bias = config.bias * unit(torch.randn(1, config.width, generator=draw))[0]
    directions = orthogonalised(directions, config.steps, config.rate)
    features = described(name, law, directions, torch.full((config.features,), -1))
    return World(features, law, bias, config.noise)


def tree_law(config: TreeConfig, compute: Compute) -> Law:
    """How the features of `config` fire."""
    count = config.features
    parents = forest_parents(count, config.roots, config.branching, config.depth)
    chance = zipf_rates(count, config.exponent, config.most, config.least)
    if config.compensated:
        chance = first_order_chances(chance, parents, config.exclusive)
    mean = torch.linspace(*config.mean, count)
    first, second = config.spread
    spread = torch.randn(count, generator=compute.generator("world spreads")) * second + first
    gain = 1 / mean[parents.clamp(min=0)] if config.scaled else torch.zeros(count)
    rule = Rule.CONTEST if config.exclusive else Rule.ALONE
    return Law(
        features=count,
        parents=parents,
        chance=chance,
        rules=torch.full((count,), int(rule)),
        mean=mean,
        spread=spread.abs(),
        gain=torch.where(parents >= 0, gain, 0.0),
        factor=loadings(count, config.rank, config.correlation, compute),
    )


def loadings(
    count: int, rank: int, scale: float, compute: Compute
) -> Float[Tensor, "feature rank"]:
    """Normal loadings of standard deviation `scale`, cut to ``|factor|² <= 0.99``."""
    drawn = torch.randn(count, rank, generator=compute.generator("world loadings")) * scale
    return drawn * (math.sqrt(1 - _LEAST_OWN) / drawn.norm(dim=1, keepdim=True)).clamp(max=1)


def _unfit(config: TreeConfig) -> Iterator[str]:
    for name in ("features", "width", "branching"):
        if (value := getattr(config, name)) < 1:
            yield f"{name} is {value}; wanted at least 1"
    for name in ("roots", "depth", "rank", "steps"):
        if (value := getattr(config, name)) < 0:
            yield f"{name} is {value}; wanted 0 or more"
    if not 0 < config.least <= config.most <= 1:
        yield (
            f"rates are from {config.most} down to {config.least}; wanted 0 < least <= most <= 1"
        )
    if config.exponent <= 0:
        yield f"exponent is {config.exponent}; wanted above 0"
    if min(config.mean) <= 0:
        yield f"mean activations are {config.mean}; wanted above 0"
    for name in ("correlation", "bias", "noise"):
        if not (value := getattr(config, name)) >= 0:
            yield f"{name} is {value}; wanted 0 or more"
