"""The floor: only the products with the weights of the blocks that have to run."""

from __future__ import annotations

from collections.abc import Callable

import torch

from readers import SITE_BLOCK, TOKENS, WIDTH, serve

# In and out of attention's two products and the MLP's two.
SHAPES = [(WIDTH, 3 * WIDTH), (WIDTH, WIDTH), (WIDTH, 4 * WIDTH), (4 * WIDTH, WIDTH)]


def reading(context: int, dtype: str) -> Callable[[], object]:
    kind = getattr(torch, dtype)
    blocks = [[torch.randn(shape).to(kind) for shape in SHAPES] for _ in range(SITE_BLOCK)]
    rows = {width: torch.randn(TOKENS, width).to(kind) for width in (WIDTH, 4 * WIDTH)}

    def call() -> None:
        for weights in blocks:
            for weight in weights:
                rows[weight.shape[0]] @ weight

    return call


if __name__ == "__main__":
    serve(reading, None)
