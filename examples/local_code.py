"""Features that exist only while another is active: learn parents and their children as a tree.

    python examples/local_code.py

The world here is made up, so that the truth is known: four groups of three parents that exclude each
other. The parents of a group share one plane, in which each of them has three children of its own.
"""

import torch

from monosemy.data.features.conditional import ConditionalConfig, conditional_world
from monosemy.evaluation.recovery import recovery
from monosemy.recipes.dictionary import begin, look_at
from monosemy.recipes.recipe import DictionaryRecipe
from monosemy.recipes.setting import Widths
from monosemy.tensors.compute import Compute
from monosemy.training.local_config import LocalConfig
from monosemy.training.loop import advance_program
from monosemy.training.objectives import ObjectiveConfig
from monosemy.training.optim import OptimConfig, Optimiser
from monosemy.training.threshold import settle_threshold

STEPS, BATCH, WIDTH = 600, 128, 24
WORLD = ConditionalConfig(
    width=WIDTH, groups=4, parents=3, children=3, rank=2, group_rate=0.25
)  # fmt: skip
RECIPE = DictionaryRecipe(
    encoder="local", latents=12, k=2,
    local=LocalConfig(children=3, charts=4, rank=2, share=0.45, l0=1.8),
    objective=ObjectiveConfig(k_start=6, k_fall=0.2, aux=0.0),
    optim=OptimConfig(learning_rate=1e-2, decay=0.25),
)  # fmt: skip


def main() -> None:
    """Learn from samples as they are drawn, then compare with the features they are made of."""
    world = conditional_world(WORLD, seed=0, name="small")
    draw = Compute(seed=0).generator("samples")
    rows = world.activations(4000, draw)
    widths = Widths(*[(WIDTH,)] * 2)
    program = begin(RECIPE, widths, rows, look_at(RECIPE, widths, rows), STEPS)
    optimiser = Optimiser(program.module.parameters(), RECIPE.optim, STEPS)
    for step in range(STEPS):
        advance_program(program, optimiser, world.activations(BATCH, draw), step)
    dictionary = program.result()
    settle_threshold(dictionary, rows)
    samples = world.sample(4000, torch.Generator().manual_seed(1))
    rates = (dictionary.encode(samples.x) > 0).float().mean(0)
    for parent in range(12):
        below = (dictionary.parent_of(torch.arange(dictionary.latents)) == parent).nonzero()[:, 0]
        said = ", ".join(f"{dictionary.address(int(n))} on {rates[n]:.1%}" for n in below)
        print(
            f"{parent:>2} in chart {int(dictionary.routes[parent])}, on {rates[parent]:.1%}: {said}"
        )
    found = recovery(dictionary, samples, world.features)
    print(f"\nparent F1 {found.value('parent_f1'):.2f}, child F1 {found.value('child_f1'):.2f}")


if __name__ == "__main__":
    main()
