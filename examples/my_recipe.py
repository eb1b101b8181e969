"""A recipe of your own: a function that returns a whole configuration.

    monosemy train examples/my_recipe.py:narrow --dry-run
    monosemy train examples/my_recipe.py:narrow --out runs/narrow
    monosemy train examples/my_recipe.py:narrow --out runs/narrow32 --k 32
    monosemy evaluate runs/narrow

What a recipe leaves out is as in `monosemy train demo`; docs/recipe-keys.md lists every key.
"""

from dataclasses import replace

from monosemy.recipes.recipe import DictionaryRecipe
from monosemy.training.objectives import ObjectiveConfig


def narrow() -> DictionaryRecipe:
    """512 TopK latents on the residual stream, from a tenth of the demo's activations."""
    return DictionaryRecipe(
        site="blocks.0.hook_resid_post",
        tokens=100_000,
        latents=512,
        selection="topk",
        k=16,
        batch=512,
        objective=ObjectiveConfig(dead_after=50_000),
    )


def narrow_from_random() -> DictionaryRecipe:
    """The same from random directions: what a start at the data is worth."""
    return replace(narrow(), directions="random")
