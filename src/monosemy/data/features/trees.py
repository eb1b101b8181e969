"""Worlds of trees: frequent features with rarer ones below, correlated, in superposition."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from monosemy.data.features.building import described
from monosemy.data.features.compensation import (
    COMPENSATION,
    exact_chances,
    first_order_chances,
    impossible,
)
from monosemy.data.features.directions import orthogonalised, random_directions, unit
from monosemy.data.features.frequencies import forest_parents, zipf_rates
from monosemy.data.features.law import Law, Rule
from monosemy.data.features.rates import alive_shares
from monosemy.data.features.world import World
from monosemy.foundation.errors import nearest, refuse
from monosemy.tensors.axes import Float, Int, Tensor
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
    given: tuple[float, ...] = ()
    """Rates that are wanted, one a feature, instead of Zipf's."""
    roots: int = 128
    """Trees."""
    branching: int = 4
    """Children of every feature above the last level."""
    depth: int = 3
    """Levels below the roots; 0 for no hierarchy."""
    exclusive: bool = True
    """Whether of several siblings that fire one stays, at random."""
    compensation: str = "first-order"
    """Whether chances are raised for what the hierarchy takes away; see `COMPENSATION`."""
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
    refuse(_unfit(config), "this world of trees")
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
    parents = _parents(config)
    mean = torch.linspace(*config.mean, count)
    first, second = config.spread
    drawn = torch.randn(count, generator=compute.generator("world spreads"))
    gain = 1 / mean[parents.clamp(min=0)] if config.scaled else torch.zeros(count)
    rule = Rule.CONTEST if config.exclusive else Rule.ALONE
    law = Law(
        features=count,
        parents=parents,
        chance=_wanted(config),
        rules=torch.full((count,), int(rule)),
        mean=mean,
        spread=(first + second * drawn).abs(),
        gain=torch.where(parents >= 0, gain, 0.0),
        factor=loadings(count, config.rank, config.correlation, compute),
    )
    return replace(law, chance=_compensated(config, law))


def _wanted(config: TreeConfig) -> Float[Tensor, "feature"]:
    if config.given:
        return torch.tensor(config.given, dtype=torch.float64)
    return zipf_rates(config.features, config.exponent, config.most, config.least)


def _parents(config: TreeConfig) -> Int[Tensor, "feature"]:
    return forest_parents(config.features, config.roots, config.branching, config.depth)


def _compensated(config: TreeConfig, law: Law) -> Float[Tensor, "feature"]:
    if config.compensation == "first-order":
        return first_order_chances(law.chance, law.parents, config.exclusive)
    if config.compensation == "exact":
        chances = exact_chances(law.chance, law.parents, config.exclusive, alive_shares(law))
        refuse(_above_one(chances), "this world of trees")
        return chances
    return law.chance


def _above_one(chances: Float[Tensor, "feature"]) -> list[str]:
    wrong = (chances > 1).nonzero()[:, 0]
    if not len(wrong):
        return []
    return [
        f"feature {int(wrong[0])} would have to fire with probability "
        f"{float(chances[wrong[0]]):.4g} to be active as often as wanted; use rarer children, or "
        "compensation = 'first-order', which comes as near as it can"
    ]


def loadings(
    count: int, rank: int, scale: float, compute: Compute
) -> Float[Tensor, "feature rank"]:
    """Normal loadings of standard deviation `scale`, cut to ``|factor|² <= 0.99``."""
    drawn = torch.randn(count, rank, generator=compute.generator("world loadings")) * scale
    return drawn * (math.sqrt(1 - _LEAST_OWN) / drawn.norm(dim=1, keepdim=True)).clamp(max=1)


def _unfit(config: TreeConfig) -> list[str]:
    reasons = [*_miscounted(config), *_mismeasured(config), *_misrated(config)]
    if reasons or config.compensation != "exact":
        return reasons
    return impossible(_wanted(config), _parents(config), config.exclusive)


def _miscounted(config: TreeConfig) -> Iterator[str]:
    for name in ("features", "width", "branching"):
        if (value := getattr(config, name)) < 1:
            yield f"{name} is {value}; wanted at least 1"
    for name in ("roots", "depth", "rank", "steps"):
        if (value := getattr(config, name)) < 0:
            yield f"{name} is {value}; wanted 0 or more"


def _mismeasured(config: TreeConfig) -> Iterator[str]:
    if not min(config.mean) > 0:
        yield f"mean activations are {config.mean}; wanted above 0"
    for name in ("correlation", "rate", "bias", "noise"):
        if not (value := getattr(config, name)) >= 0:
            yield f"{name} is {value}; wanted 0 or more"


def _misrated(config: TreeConfig) -> Iterator[str]:
    if config.given and len(config.given) != config.features:
        yield f"{len(config.given)} rates are given for {config.features:,} features"
    if not all(0 < rate <= 1 for rate in config.given):
        yield "rates are given that are no probabilities; wanted above 0, at most 1"
    if not config.given and not 0 < config.least <= config.most <= 1:
        yield f"rates fall from {config.most} to {config.least}; wanted 0 < least <= most <= 1"
    if not config.exponent > 0:
        yield f"exponent is {config.exponent}; wanted above 0"
    if config.compensation not in COMPENSATION:
        close = nearest(config.compensation, COMPENSATION)
        known = ", ".join(COMPENSATION)
        yield f"unknown compensation {config.compensation!r}; known: {known}{close}"
    if config.compensation == "exact" and config.rank and config.correlation:
        yield "rates are exact only without correlation; use rank = 0, or 'first-order'"
