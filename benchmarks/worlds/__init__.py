"""What is drawn from in `features.py`, and the process that draws when it is told to."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from importlib.metadata import version

import torch
from peers.worker import listen, private_answers

BATCH = 1024
# Tree worlds: features, width, least rate, roots. Directions stay random: pushing them apart takes a
# minute and changes no time of drawing.
TREES = {
    "synthsaebench-16k": (16_384, 768, 5e-4, 128),
    "synthsaebench-2k": (2_048, 256, 2e-3, 16),
}
# Width, latents and k of the dictionary that is trained on it.
DICTIONARIES = {
    "synthsaebench-16k": (768, 4096, 25),
    "synthsaebench-2k": (256, 512, 8),
    "conditional-rotated": (48, 480, 3),
}
Draw = Callable[[], torch.Tensor]


def serve(build: Callable[[str], tuple[Draw, Callable[[], float]]], package: str) -> None:
    """Build the world that the command line names; draw batches, or count what is active, on order."""
    order = json.loads(sys.argv[1])
    torch.set_num_threads(order["threads"])
    torch.manual_seed(0)
    answer = private_answers()
    draw, active = build(order["world"])
    for _ in range(2):
        draw()

    def batches(count: int) -> dict:
        taken = []
        for _ in range(count):
            began = time.perf_counter()
            rows = draw()
            taken.append(1e3 * (time.perf_counter() - began))
        return {"milliseconds": taken, "shape": list(rows.shape)}

    answer({"versions": {package: version(package), "torch": torch.__version__}})
    listen({"step": batches, "active": lambda: {"active": active()}}, answer)
