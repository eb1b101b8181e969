"""The dictionaries that are compared where the truth is known: a recipe for each, by name.

A kind is a function from a world's name, its protocol and a seed to a recipe; and, where more is to
be done once it has learned, what to do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from monosemy.dictionaries.base import Dictionary
from monosemy.dictionaries.pruned import PrunedDictionary
from monosemy.recipes import truth_local
from monosemy.recipes.recipe import DictionaryRecipe
from monosemy.recipes.truth_protocol import Protocol, world_seed
from monosemy.tensors.axes import Activations
from monosemy.training.objectives import ObjectiveConfig
from monosemy.training.optim import OptimConfig
from monosemy.training.siblings import share_out_
from monosemy.training.threshold import settle_threshold

# Fewer latents than this need not reconstruct alone.
_LEAST_PREFIX = 16


@dataclass(frozen=True)
class Kind:
    """A way to learn a dictionary of a world.

    Attributes
    ----------
    recipe : what to learn by, given the world's name, its protocol and a seed.
    after : what becomes of the dictionary once it has learned, given its protocol and a sample of
        what it learned from.
    """

    recipe: Callable[[str, Protocol, int], DictionaryRecipe]
    after: Callable[[Dictionary, Protocol, Activations], Dictionary] | None = None

    @property
    def about(self) -> str:
        """A line about it."""
        return (self.recipe.__doc__ or "").strip().splitlines()[0]


def batchtopk(world: str, protocol: Protocol, seed: int) -> DictionaryRecipe:
    """BatchTopK: the largest pre-activations of a batch."""
    return DictionaryRecipe(
        world=world,
        world_seed=world_seed(protocol, seed),
        latents=protocol.latents,
        tokens=protocol.tokens,
        batch=protocol.batch,
        selection="batchtopk",
        k=protocol.k,
        objective=ObjectiveConfig(),
        optim=OptimConfig(learning_rate=protocol.learning_rate, decay=protocol.decay),
        checkpoint=max(1, protocol.steps // 4),
        seed=seed,
    )


def topk(world: str, protocol: Protocol, seed: int) -> DictionaryRecipe:
    """TopK: the largest pre-activations of each sample."""
    return replace(batchtopk(world, protocol, seed), selection="topk")


def matryoshka(world: str, protocol: Protocol, seed: int) -> DictionaryRecipe:
    """BatchTopK whose prefixes reconstruct without the rest."""
    objective = ObjectiveConfig(prefixes=protocol.prefixes)
    return replace(batchtopk(world, protocol, seed), objective=objective)


def jumprelu(world: str, protocol: Protocol, seed: int) -> DictionaryRecipe:
    """A threshold a latent, learned, steered to the true L0."""
    objective = ObjectiveConfig(target_l0=protocol.l0)
    return replace(batchtopk(world, protocol, seed), selection="jumprelu", objective=objective)


def l1(world: str, protocol: Protocol, seed: int) -> DictionaryRecipe:
    """ReLU under an L1 penalty, steered to the true L0."""
    objective = ObjectiveConfig(target_l0=protocol.l0)
    return replace(batchtopk(world, protocol, seed), selection="relu", objective=objective)


def matching_pursuit(world: str, protocol: Protocol, seed: int) -> DictionaryRecipe:
    """One latent at a time, each from what those before it left over."""
    return replace(topk(world, protocol, seed), encoder="matching_pursuit")


def lista(world: str, protocol: Protocol, seed: int) -> DictionaryRecipe:
    """BatchTopK whose code is refined by one step of explaining away."""
    return replace(batchtopk(world, protocol, seed), encoder="lista")


def lista_matryoshka(world: str, protocol: Protocol, seed: int) -> DictionaryRecipe:
    """Nested prefixes, one step of explaining away, and a k that falls to the true L0."""
    objective = ObjectiveConfig(
        prefixes=protocol.prefixes,
        prefixes_by="frequency",
        prefixes_detached=True,
        tilt=2e-3,
        k_start=min(protocol.latents, round(2.4 * protocol.k)),
        k_fall=1.0,
    )
    return replace(lista(world, protocol, seed), objective=objective)


def octaves(world: str, protocol: Protocol, seed: int) -> DictionaryRecipe:
    """LISTA-Matryoshka with a prefix at every octave of the latents, and no tilt."""
    recipe = lista_matryoshka(world, protocol, seed)
    shares = (2.0**-n for n in range(protocol.latents.bit_length(), -1, -1))
    prefixes = tuple(share for share in shares if share * protocol.latents >= _LEAST_PREFIX)
    objective = replace(recipe.objective, prefixes=prefixes or (1.0,), tilt=0.0)
    return replace(recipe, objective=objective)


def at_true_l0(dictionary: Dictionary, protocol: Protocol, rows: Activations) -> Dictionary:
    """BatchTopK learns with a whole k; its threshold is set where L0 is the true one."""
    settle_threshold(dictionary, rows, protocol.l0)
    return dictionary


def pruned(dictionary: Dictionary, protocol: Protocol, rows: Activations) -> Dictionary:
    """Leave out latents whose absence would show less than half a usual one's does."""
    return _pruned(at_true_l0(dictionary, protocol, rows), rows)


def shared_out(dictionary: Dictionary, protocol: Protocol, rows: Activations) -> Dictionary:
    """Give siblings back what their parent took of their mean."""
    return share_out_(at_true_l0(dictionary, protocol, rows), rows)


def shared_out_pruned(dictionary: Dictionary, protocol: Protocol, rows: Activations) -> Dictionary:
    """First the one, then the other."""
    return _pruned(shared_out(dictionary, protocol, rows), rows)


@torch.no_grad()
def _pruned(dictionary: Dictionary, rows: Activations) -> Dictionary:
    # A feature is either there or not: half its usual size is as far from the one as from the other.
    values = dictionary.code(rows).values
    return PrunedDictionary(dictionary, 0.5 * float(values.mean()) if len(values) else 0.0)


KINDS = {
    "batchtopk": Kind(batchtopk, at_true_l0),
    "topk": Kind(topk),
    "matryoshka": Kind(matryoshka, at_true_l0),
    "jumprelu": Kind(jumprelu),
    "l1": Kind(l1),
    "matching_pursuit": Kind(matching_pursuit),
    "lista": Kind(lista, at_true_l0),
    "lista_matryoshka": Kind(lista_matryoshka, at_true_l0),
    "octaves": Kind(octaves, at_true_l0),
    "hierarchical": Kind(truth_local.hierarchical),
    "local": Kind(truth_local.local),
    "local_quarter": Kind(truth_local.local_quarter),
    "local_own": Kind(truth_local.local_own),
    "local_random": Kind(truth_local.local_random),
    "batchtopk_pruned": Kind(batchtopk, pruned),
    "lista_matryoshka_pruned": Kind(lista_matryoshka, pruned),
    "octaves_siblings": Kind(octaves, shared_out),
    "octaves_siblings_pruned": Kind(octaves, shared_out_pruned),
}
"""Every kind that learns, by name; the arms beside them are in `truth_arms`."""
