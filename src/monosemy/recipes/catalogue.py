"""Complete configurations by name, and where else a recipe may come from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from monosemy.foundation.errors import UserError, nearest
from monosemy.recipes import config
from monosemy.recipes.recipe import DictionaryRecipe
from monosemy.training.end_to_end import EndToEndConfig
from monosemy.training.local_config import LocalConfig
from monosemy.training.objectives import ObjectiveConfig
from monosemy.training.optim import OptimConfig


def demo() -> DictionaryRecipe:
    """4,096 BatchTopK latents (k = 16) on the specimen's 512 neurons, a million activations."""
    return DictionaryRecipe()


def residual() -> DictionaryRecipe:
    """2,048 TopK latents on what the specimen's layer leaves in the residual stream."""
    return DictionaryRecipe(site="blocks.0.hook_resid_post", latents=2048, selection="topk", k=16)


def jumprelu() -> DictionaryRecipe:
    """A threshold a latent, learned by straight-through gradients, steered to an L0 of 16."""
    return DictionaryRecipe(selection="jumprelu", objective=ObjectiveConfig(target_l0=16))


def gated() -> DictionaryRecipe:
    """A gate for which latents are active, magnitudes for how much, steered to an L0 of 16."""
    return DictionaryRecipe(
        encoder="gated", selection="relu", objective=ObjectiveConfig(target_l0=16)
    )


def matryoshka() -> DictionaryRecipe:
    """The demo's dictionary with nested prefixes that each reconstruct alone."""
    shares = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
    return DictionaryRecipe(objective=ObjectiveConfig(k_start=64, prefixes=shares))


def relu() -> DictionaryRecipe:
    """The ReLU dictionary of "Towards Monosemanticity": L1, steered to an L0 of 16."""
    return DictionaryRecipe(selection="relu", objective=ObjectiveConfig(target_l0=16))


def lista() -> DictionaryRecipe:
    """The demo's dictionary whose code is refined by one step of explaining away."""
    return DictionaryRecipe(encoder="lista")


def matching_pursuit() -> DictionaryRecipe:
    """Latents are chosen one at a time, each from what those before it left over."""
    return DictionaryRecipe(encoder="matching_pursuit", selection="topk")


def local() -> DictionaryRecipe:
    """1,024 parents with three children each, in 64 subspaces that they share."""
    return DictionaryRecipe(
        encoder="local", latents=1024, local=LocalConfig(children=3, charts=64, share=0.3),
        objective=ObjectiveConfig(k_start=64, k_fall=0.3),
    )  # fmt: skip


def hierarchical() -> DictionaryRecipe:
    """1,024 parents with three children each, in a subspace of each parent's own (H-SAE style)."""
    return DictionaryRecipe(
        encoder="hierarchical", latents=1024, local=LocalConfig(children=3, share=0.3),
        objective=ObjectiveConfig(k_start=64, k_fall=0.3),
    )  # fmt: skip


def transcoder() -> DictionaryRecipe:
    """From what enters the specimen's MLP to what it adds to the stream."""
    return DictionaryRecipe(
        structure="transcoder", site="blocks.0.mlp.hook_in", target="blocks.0.hook_mlp_out"
    )


def skip_transcoder() -> DictionaryRecipe:
    """The transcoder with a linear path beside its latents."""
    return replace(transcoder(), structure="skip_transcoder")


def crosscoder() -> DictionaryRecipe:
    """Latents shared by the specimen's stream before and after its MLP."""
    sites = "blocks.0.hook_resid_mid,blocks.0.hook_resid_post"
    return DictionaryRecipe(structure="crosscoder", site=sites)


def cross_layer() -> DictionaryRecipe:
    """A cross-layer transcoder of every MLP of a model (the specimen has one)."""
    return DictionaryRecipe(
        structure="cross_layer", site="blocks.*.mlp.hook_in",
        target="blocks.*.hook_mlp_out", latents=2048,
    )  # fmt: skip


def end_to_end() -> DictionaryRecipe:
    """TopK latents learned from what the model predicts with the reconstruction in it (KL)."""
    return DictionaryRecipe(
        selection="topk", tokens=200_000, latents=2048,
        end_to_end=EndToEndConfig(loss="kl"), optim=OptimConfig(learning_rate=5e-4),
    )  # fmt: skip


RECIPES: dict[str, Callable[[], DictionaryRecipe]] = {
    "demo": demo,
    "residual": residual,
    "relu": relu,
    "jumprelu": jumprelu,
    "gated": gated,
    "matryoshka": matryoshka,
    "lista": lista,
    "matching_pursuit": matching_pursuit,
    "local": local,
    "hierarchical": hierarchical,
    "transcoder": transcoder,
    "skip_transcoder": skip_transcoder,
    "crosscoder": crosscoder,
    "cross_layer": cross_layer,
    "end_to_end": end_to_end,
}


def find_recipe(name: str) -> DictionaryRecipe:
    """The recipe called `name`: a built-in one, ``FILE.toml``, or ``FILE.py:FUNCTION``."""
    if name in RECIPES:
        return RECIPES[name]()
    path, _, function = name.partition(":")
    if path.endswith(".py"):
        return config.from_python(Path(path), function or "recipe", DictionaryRecipe)
    if name.endswith(".toml"):
        return config.from_toml(Path(name), DictionaryRecipe())
    raise UserError(
        f"unknown recipe {name!r}; built in: {', '.join(RECIPES)}; or FILE.toml, or FILE.py:FUNCTION"
        + nearest(name, RECIPES)
    )
