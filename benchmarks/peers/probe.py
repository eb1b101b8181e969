"""What the machine can do in the minute in which the contestants are measured."""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable

import torch

from peers.worker import Shape, batches, listen, private_answers

# Above this the product is measured at this many latents and scaled: it is linear in them, and the
# result of the whole would not fit beside the contestants.
MOST_LATENTS = 131_072
COPY_BYTES = 256 * 2**20
REPEATS = 3


def main() -> None:
    order = json.loads(sys.argv[1])
    shape = Shape(**order["shape"])
    torch.set_num_threads(order["threads"])
    answer = private_answers()
    probe = prepare(shape)
    probe()
    answer({})
    listen({"probe": probe}, answer)


def prepare(shape: Shape) -> Callable[[], dict[str, float]]:
    """A call that times the encoder's product in three ways, and a copy."""
    latents = min(shape.latents, MOST_LATENTS)
    x = batches(shape, 1)[0]
    rows = torch.randn(latents, shape.width)
    kept = torch.empty(shape.tokens, latents)
    short_x, short_rows = x.bfloat16(), rows.bfloat16()
    short_kept = torch.empty(shape.tokens, latents, dtype=torch.bfloat16)
    source = torch.ones(COPY_BYTES // 4)
    target = torch.empty_like(source)
    scale = shape.latents / latents

    def probe() -> dict[str, float]:
        return {
            "product_ms": scale * median_ms(lambda: x @ rows.T),
            "product_kept_ms": scale * median_ms(lambda: torch.mm(x, rows.T, out=kept)),
            "bf16_product_ms": scale
            * median_ms(lambda: torch.mm(short_x, short_rows.T, out=short_kept)),
            "copy_gb_s": 2 * COPY_BYTES / 1e6 / median_ms(lambda: target.copy_(source)),
        }

    return probe


def median_ms(work: Callable[[], object]) -> float:
    taken = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        work()
        taken.append(1e3 * (time.perf_counter() - began))
    return statistics.median(taken)


if __name__ == "__main__":
    main()
