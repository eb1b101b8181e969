"""Our own world, drawn from as a source draws."""

from __future__ import annotations

from dataclasses import replace

import torch

from worlds import BATCH, TREES, Draw, serve


def build(name: str):
    from monosemy.data.features.trees import TreeConfig, tree_world
    from monosemy.data.features.worlds import open_world

    if name in TREES:
        features, width, least, roots = TREES[name]
        sizes = {"features": features, "width": width, "least": least, "roots": roots}
        world = tree_world(replace(TreeConfig(), **sizes, steps=0))
    else:
        world = open_world(name)
    generator = torch.Generator().manual_seed(0)
    draw: Draw = lambda: world.activations(BATCH, generator)  # noqa: E731
    return draw, lambda: float(world.sample(8 * BATCH, generator).truth.counts.float().mean())


if __name__ == "__main__":
    serve(build, "monosemy")
