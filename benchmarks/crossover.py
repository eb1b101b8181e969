"""From which density on a dense product beats gathering rows: where `tensors.dense` takes over.

Both do the three sums of a step (decode, gradients of values and of a matrix) on the same code, in
turns; the median round counts.

    python benchmarks/crossover.py [--json FILE]
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import torch

from monosemy.foundation.storage import write_json
from monosemy.tensors import compiled, dense, workers
from monosemy.tensors.codes import SparseCode
from monosemy.tensors.rows import RowGradient

SHAPES = {"demo": (512, 512, 4096), "M": (2048, 768, 16384)}
DENSITIES = (1 / 64, 1 / 32, 1 / 24, 1 / 16, 1 / 12, 1 / 8, 1 / 4)


def measure(tokens: int, width: int, latents: int, density: float, rounds: int) -> dict:
    draw = torch.Generator().manual_seed(0)
    active = torch.rand(tokens, latents, generator=draw) < density
    code = SparseCode.from_mask(active, active.float())
    matrix = torch.randn(latents, width, generator=draw)
    x = torch.randn(tokens, width, generator=draw)
    gradient = RowGradient.of(matrix)
    seconds: dict[str, list[float]] = {"sparse": [], "dense": []}
    for _ in range(rounds + 1):
        for name, side in (("sparse", compiled), ("dense", dense)):
            began = time.perf_counter()
            side.product(code, matrix)
            side.dots(code, x, matrix)
            side.add_rows(code, x, gradient)
            seconds[name].append(time.perf_counter() - began)
    sparse, full = (1e3 * statistics.median(taken[1:]) for taken in seconds.values())
    return {"density": density, "sparse_ms": round(sparse, 2), "dense_ms": round(full, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rows = []
    for shape, sizes in SHAPES.items():
        for density in DENSITIES:
            with workers.undisturbed():
                row = {"shape": shape, **measure(*sizes, density, arguments.rounds)}
            faster = "sparse" if row["sparse_ms"] < row["dense_ms"] else "dense"
            print(
                f"{shape:<6}1/{1 / density:<5.0f}{row['sparse_ms']:>9} {row['dense_ms']:>9}  {faster}"
            )
            rows.append(row)
    if arguments.json:
        write_json(arguments.json, {"rows": rows, "taken_at": f"1/{1 / dense.CROSSOVER:.0f}"})


if __name__ == "__main__":
    main()
