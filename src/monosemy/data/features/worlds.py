"""The worlds that have names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from monosemy.data.features.conditional import ConditionalConfig, conditional_world
from monosemy.data.features.manifolds import ManifoldConfig, manifold_world
from monosemy.data.features.trees import TreeConfig, tree_world
from monosemy.data.features.world import World
from monosemy.foundation.errors import UserError, nearest


@dataclass(frozen=True)
class _Named:
    about: str
    make: Callable[[int, str], World]


def _conditional(about: str, config: ConditionalConfig) -> _Named:
    return _Named(about, lambda seed, name: conditional_world(config, seed, name))


def _trees(about: str, config: TreeConfig) -> _Named:
    return _Named(about, lambda seed, name: tree_world(config, seed, name))


def _manifolds(about: str, config: ManifoldConfig) -> _Named:
    return _Named(about, lambda seed, name: manifold_world(config, seed, name))


_NAMED = {
    "conditional-rotated": _conditional(
        "exclusive parents share 3-d subspaces and turn their children in them",
        ConditionalConfig(),
    ),
    "conditional-analogy": _conditional(
        "exclusive parents share 3-d subspaces and the same children in them",
        ConditionalConfig(sharing="analogy"),
    ),
    "conditional-unshared": _conditional(
        "every parent has a 3-d subspace of its own for its children",
        ConditionalConfig(sharing="unshared"),
    ),
    "conditional-deep": _conditional(
        "as conditional-rotated, and the children have children",
        ConditionalConfig(width=64, groups=6, depth=3),
    ),
    "circles": _manifolds(
        "24 circles in 24 dimensions: values of one angle each",
        ManifoldConfig(circles=24),
    ),
    "manifolds": _manifolds(
        "circles, tori and closed curves in 32 dimensions",
        ManifoldConfig(width=32, circles=12, tori=6, curves=6),
    ),
    "mixture": _manifolds(
        "64 discrete features, and 32 that each gate the angle of a circle",
        ManifoldConfig(width=48, discrete=64, circles=32, gated=True, rate=0.02),
    ),
    "synthsaebench-16k": _trees(
        "16,384 correlated features in 768 dimensions, trees of exclusive siblings (published)",
        TreeConfig(),
    ),
    "synthsaebench-2k": _trees(
        "the same an eighth in size: 2,048 features in 256 dimensions",
        TreeConfig(features=2048, width=256, roots=16, least=2e-3),
    ),
}

WORLDS: dict[str, str] = {name: named.about for name, named in _NAMED.items()}
"""Every world that has a name, and a line about it."""


@lru_cache(maxsize=4)
def open_world(name: str, seed: int = 0) -> World:
    """The world of that name; the seed fixes its directions and everything else about it.

    Errors
    ------
    `UserError` for a name that is not in `WORLDS`.
    """
    if name not in _NAMED:
        known = "".join(f"\n  {known}: {about}" for known, about in WORLDS.items())
        raise UserError(f"unknown world {name!r}{nearest(name, WORLDS)}; known worlds:{known}")
    return _NAMED[name].make(seed, name)
