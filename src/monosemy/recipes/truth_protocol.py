"""What is the same for all dictionaries that are compared on a world: sizes, samples, L0."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from monosemy.data.features.truth import Features
from monosemy.data.features.worlds import open_world
from monosemy.foundation.errors import UserError, refuse


@dataclass(frozen=True)
class Protocol:
    """Equal conditions on one world."""

    latents: int
    """Size of every dictionary."""
    tokens: int
    """Samples to learn from."""
    batch: int = 512
    """Samples in an update."""
    learning_rate: float = 2e-3
    """What a kind uses that asks for no other."""
    decay: float = 1 / 3
    """Share of the updates, at the end, over which the rate falls to zero."""
    l0: float = 0.0
    """Active latents a sample: the true L0 of the `latents` most frequent features; 0 finds it out."""
    prefixes: tuple[float, ...] = (1 / 32, 1 / 8, 1 / 2, 1.0)
    """Shares of the latents that are nested, where a kind nests."""
    samples: int = 100_000
    """Fresh samples that are measured on."""
    redraws: bool = True
    """Whether every seed draws a world of its own, or all learn from the same one."""

    @property
    def k(self) -> int:
        """The whole number of active latents nearest to `l0`, at least one."""
        return max(1, round(self.l0))

    @property
    def steps(self) -> int:
        """Updates in all."""
        return self.tokens // self.batch


_CONDITIONAL = Protocol(latents=480, tokens=2_048_000, prefixes=(1 / 5, 1.0))
PROTOCOLS = {
    "conditional-rotated": _CONDITIONAL,
    "conditional-analogy": _CONDITIONAL,
    "conditional-unshared": _CONDITIONAL,
    "conditional-deep": replace(_CONDITIONAL, latents=1008, prefixes=(1 / 21, 5 / 21, 1.0)),
    # As published (arXiv:2602.14687).
    "synthsaebench-16k": Protocol(
        latents=4096, tokens=200_000_000, batch=1024, learning_rate=3e-4, l0=25.0,
        samples=500_000, redraws=False,
    ),
    # The same an eighth in size; 2,000 updates are all that fits, so they are larger ones.
    "synthsaebench-2k": Protocol(
        latents=512, tokens=2_048_000, batch=1024, learning_rate=6e-3, redraws=False
    ),
}  # fmt: skip
"""Worlds whose conditions were chosen; any other gets a latent for each of its features."""


def protocol_for(world: str, changes: Mapping[str, Any] | None = None) -> Protocol:
    """The conditions on `world`, with some changed, and `l0` found out where nothing says it.

    Errors
    ------
    `UserError` for an unknown world, and for conditions that cannot be, all reasons at once.
    """
    given = {key: value for key, value in (changes or {}).items() if value is not None}
    # Large worlds take a minute to make: only where their features are asked for.
    default = PROTOCOLS.get(world) or Protocol(open_world(world).features.count, 4_096_000)
    if "latents" in given:  # other features are the most frequent ones that fit in
        default = replace(default, l0=0.0)
    protocol = replace(default, **given)
    refuse(_reasons(protocol), f"this comparison on {world}")
    if not protocol.l0:
        features = open_world(world).features
        protocol = replace(protocol, l0=true_l0(features, protocol.latents))
    if protocol.k > protocol.latents or protocol.l0 > protocol.latents:
        raise UserError(
            f"l0 = {protocol.l0:g} for {protocol.latents:,} latents; wanted at most as many as there "
            "are"
        )
    return protocol


def true_l0(features: Features, latents: int) -> float:
    """Active features a sample, of the `latents` that are active most often."""
    rates = features.rates.double()
    return float(rates.topk(min(latents, len(rates))).values.sum())


def world_seed(protocol: Protocol, seed: int) -> int:
    """The seed of the world that a cell learns from."""
    return seed if protocol.redraws else 0


def _reasons(protocol: Protocol) -> list[str]:
    counts = ("latents", "tokens", "batch", "samples")
    reasons = [
        f"{name} = {getattr(protocol, name):,}; wanted at least 1"
        for name in counts
        if getattr(protocol, name) < 1
    ]
    if 1 <= protocol.tokens < protocol.batch:
        reasons.append(f"batch = {protocol.batch:,} is larger than tokens = {protocol.tokens:,}")
    if not 0 <= protocol.l0 < math.inf:
        reasons.append(f"l0 = {protocol.l0}; wanted a number of active latents, above 0")
    if not 0 < protocol.learning_rate < math.inf:
        reasons.append(f"learning_rate = {protocol.learning_rate}; wanted more than 0")
    return reasons
