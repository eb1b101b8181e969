"""Dictionaries with children, where the truth is known: local codes and H-SAE's hierarchy."""

from __future__ import annotations

from dataclasses import replace

from monosemy.data.features.truth import Features
from monosemy.data.features.worlds import open_world
from monosemy.recipes.recipe import HIERARCHICAL, LOCAL, DictionaryRecipe
from monosemy.recipes.truth_protocol import Protocol, world_seed
from monosemy.training.local_config import FOUND, ONE_EACH, LocalConfig
from monosemy.training.objectives import ObjectiveConfig
from monosemy.training.optim import OptimConfig

# Where a world plants no charts.
_CHILDREN, _RANK = 4, 3
# Parents and children.
_SHALLOW = 2
# Active parents at the first step, as a multiple of those at the end.
_MORE = 2


def local(world: str, protocol: Protocol, seed: int) -> DictionaryRecipe:
    """Local codes: children in as many shared charts as the sharing curve has its knee at.

    As deep as the world is, where it plants charts.
    """
    features = open_world(world).features
    parents, branching = sizes(features, protocol.latents)
    config = LocalConfig(
        children=branching, charts=FOUND, rank=_RANK, l0=protocol.l0,
        share=share_of_children(features), depth=depth_of(features),
    )  # fmt: skip
    proposed = config.proposed(protocol.k)
    return DictionaryRecipe(
        world=world,
        world_seed=world_seed(protocol, seed),
        latents=parents,
        tokens=protocol.tokens,
        batch=protocol.batch,
        encoder=LOCAL,
        selection="batchtopk",
        k=protocol.k,
        local=config,
        objective=ObjectiveConfig(k_start=_MORE * proposed, k_fall=config.begin / 2),
        optim=OptimConfig(learning_rate=_RATE, decay=1 / 4),
        checkpoint=max(1, protocol.steps // 4),
        seed=seed,
    )


_RATE = 5e-3


def local_quarter(world: str, protocol: Protocol, seed: int) -> DictionaryRecipe:
    """Local codes with a quarter as many charts as parents."""
    return _with_charts(world, protocol, seed, 4)


def local_own(world: str, protocol: Protocol, seed: int) -> DictionaryRecipe:
    """Local codes without sharing: a chart for each parent."""
    recipe = local(world, protocol, seed)
    return replace(recipe, local=replace(recipe.local, charts=ONE_EACH))


def local_random(world: str, protocol: Protocol, seed: int) -> DictionaryRecipe:
    """The control: a quarter as many charts, and routes to them, drawn at random and left so."""
    recipe = _with_charts(world, protocol, seed, 4)
    return replace(recipe, local=replace(recipe.local, random_charts=True))


def hierarchical(world: str, protocol: Protocol, seed: int) -> DictionaryRecipe:
    """H-SAE style: a subspace for each parent, children read from the activation itself."""
    recipe = local(world, protocol, seed)
    config = replace(recipe.local, charts=ONE_EACH, depth=_SHALLOW)
    return replace(recipe, encoder=HIERARCHICAL, local=config)


def _with_charts(world: str, protocol: Protocol, seed: int, share: int) -> DictionaryRecipe:
    recipe = local(world, protocol, seed)
    charts = max(recipe.latents // share, 1)
    return replace(recipe, local=replace(recipe.local, charts=charts))


def sizes(features: Features, latents: int) -> tuple[int, int]:
    """Parents, and children of each: as the world has them, or as fit into so many latents."""
    parents = int((features.levels == 0).sum())
    children = int((features.levels == 1).sum())
    if int((features.charts >= 0).sum()) and parents + children <= latents:
        return parents, max(children // parents, 1)
    return max(latents // (1 + _CHILDREN), 1), _CHILDREN


def depth_of(features: Features) -> int:
    """Levels of features: those of a world that plants charts, else parents and children."""
    planted = int((features.charts >= 0).sum()) > 0
    return max(int(features.levels.max()) + 1, _SHALLOW) if planted else _SHALLOW


def share_of_children(features: Features) -> float:
    """The share of active features that are no roots."""
    rates = features.rates.double()
    return min(float(rates[features.levels > 0].sum() / rates.sum()), 0.9)
