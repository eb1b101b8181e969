"""A million conditional features: can they be trained, in what memory, and what does encoding cost?

    python benchmarks/local_scale.py --json benchmarks/reports/local_scale.json

32,768 parents with 31 children each (1,048,576 features) over 512 numbers, in 256 shared charts of four
dimensions, learn from a planted code of that kind, through all stages of training (``--steps 0`` takes
the planted code itself). Then tokens are encoded by it and by a flat BatchTopK dictionary of as many
latents (random weights, the same number of active latents), in turns; the median round of each counts.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from capture import machine
from torch.nn.functional import normalize

from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.local import LocalDictionary, operations
from monosemy.dictionaries.selection import BatchTopK
from monosemy.foundation.storage import write_json
from monosemy.recipes.config import override
from monosemy.recipes.dictionary import begin, look_at
from monosemy.recipes.recipe import DictionaryRecipe
from monosemy.recipes.setting import Widths
from monosemy.tensors.routes import multiplies_bfloat16
from monosemy.training.loop import advance_program
from monosemy.training.optim import Optimiser
from monosemy.training.threshold import settle_threshold


class Planted:
    """``x = sum a (d_p + z C[p, j] V[c(p)]) + noise``: `active` parents of different groups a token."""

    def __init__(self, options: argparse.Namespace):
        draw = torch.Generator().manual_seed(0)
        self.options, self.width = options, options.width
        self.each = options.parents // options.charts
        self.d = normalize(torch.randn(options.parents, self.width, generator=draw), dim=1)
        frames = torch.randn(options.charts, self.width, options.rank, generator=draw)
        self.V = torch.linalg.qr(frames)[0].transpose(1, 2)
        shape = (options.parents, options.children, options.rank)
        self.C = normalize(torch.randn(shape, generator=draw), dim=2)

    def rows(self, count: int, draw: torch.Generator) -> torch.Tensor:
        """`count` samples."""
        x = 0.02 * torch.randn(count, self.width, generator=draw)
        for _ in range(self.options.active):
            chart = torch.randint(self.options.charts, (count,), generator=draw)
            p = chart * self.each + torch.randint(self.each, (count,), generator=draw)
            a = 1 + torch.rand(count, 1, generator=draw)
            z = 0.4 + 0.4 * torch.rand(count, 1, generator=draw)
            j = torch.randint(self.options.children, (count,), generator=draw)
            inside = (self.C[p, j][:, None] @ self.V[chart])[:, 0]
            there = (torch.rand(count, 1, generator=draw) < 0.8).float()
            x += a * (self.d[p] + there * z * inside)
        return x


def recipe_of(options: argparse.Namespace) -> DictionaryRecipe:
    """What is trained."""
    k = round(options.active * 1.8)
    return override(DictionaryRecipe(), {
        "latents": options.parents, "encoder": "local", "k": k, "batch": options.batch,
        "tokens": options.steps * options.batch, "directions": "data",
        "local.children": options.children, "local.charts": options.charts,
        "local.rank": options.rank, "local.share": 0.8 / 1.8, "local.samples": 16,
        "local.begin": 0.4, "local.until": 0.7, "local.times": 1,
        "objective.k_start": 2 * k, "objective.k_fall": 0.3, "objective.dead_after": 1 << 40,
        "optim.learning_rate": 5e-3,
    })  # fmt: skip


def train(options: argparse.Namespace, world: Planted) -> tuple[LocalDictionary, dict[str, Any]]:
    """Every stage, step by step."""
    recipe, draw = recipe_of(options), torch.Generator().manual_seed(1)
    rows, widths = world.rows(16_384, draw), Widths((world.width,), (world.width,))
    widths = Widths(widths.read, widths.read)
    program = begin(recipe, widths, rows, look_at(recipe, widths, rows), options.steps)
    optimiser = Optimiser(program.module.parameters(), recipe.optim, options.steps)
    seconds, fvu, found = [], [], 0.0
    for step in range(options.steps):
        batch = world.rows(options.batch, draw)
        began = time.perf_counter()
        _, readings = advance_program(program, optimiser, batch, step)
        taken = time.perf_counter() - began
        due = program.stages.due(step + 1) is not None
        found += taken if due else 0.0
        seconds += [] if due else [taken]
        fvu.append(float(readings["fvu"]))
        if step % 25 == 0:
            print(f"step {step}: fvu {fvu[-1]:.3f}, {taken:.2f} s", flush=True)
    dictionary = program.result()
    settle_threshold(dictionary, world.rows(4096, draw))
    first = program.stages.first
    return dictionary, {
        "steps": options.steps, "batch": options.batch,
        "seconds_a_step_parents": statistics.median(seconds[5:first]),
        "seconds_a_step_children": statistics.median(seconds[first + 5:]),
        "seconds_finding_charts": found,
        "fvu_parents_alone": statistics.mean(fvu[first - 10:first]),
        "fvu_at_the_end": statistics.mean(fvu[-10:]),
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }  # fmt: skip


@torch.no_grad()
def planted(options: argparse.Namespace, world: Planted) -> LocalDictionary:
    """The planted code itself, where nothing is trained: thresholds are settled on samples."""
    selection = BatchTopK(recipe_of(options).local.proposed(recipe_of(options).k))
    trunk = FlatDictionary.tied(world.d, torch.zeros(world.width), selection)
    routes = torch.arange(options.parents) // world.each
    dictionary = LocalDictionary(trunk, world.V.contiguous(), routes, world.C, 1, 0.5, 0.2).eval()
    dictionary.aims = (float(options.active), 0.8 * options.active)
    settle_threshold(dictionary, world.rows(4096, torch.Generator().manual_seed(3)))
    return dictionary


@torch.no_grad()
def encode(
    options: argparse.Namespace, dictionary: LocalDictionary, world: Planted
) -> dict[str, Any]:
    """Microseconds a token of both, in turns."""
    draw = torch.Generator().manual_seed(2)
    features = dictionary.latents
    W = normalize(torch.randn(features, world.width, generator=draw), dim=1)
    x = world.rows(options.tokens, draw)
    local_l0 = float(dictionary.code(x).counts.double().mean())
    flat = FlatDictionary(W, torch.zeros(features), W, torch.zeros(world.width),
                          BatchTopK(round(local_l0))).eval()  # fmt: skip
    bfloat16 = multiplies_bfloat16("cpu")
    flat.propose = dictionary.parents.propose = options.propose and bfloat16
    settle_threshold(flat, x)
    taken: dict[str, list[float]] = {"local": [], "flat": []}
    for turn in range(options.rounds + 1):
        for name, one in (("local", dictionary), ("flat", flat)):
            began = time.perf_counter()
            code = one.code(x)
            if turn:
                taken[name].append((time.perf_counter() - began) / len(x) * 1e6)
            del code
    proposed = float(dictionary.parents.code(x).counts.double().mean())
    micro = {name: statistics.median(times) for name, times in taken.items()}
    counted = {"local": operations(dictionary, proposed), "flat": 2.0 * world.width * features}
    return {
        "features": features, "l0": local_l0, "proposed": proposed,
        "microseconds_a_token": micro, "rounds": taken, "ratio": micro["flat"] / micro["local"],
        "operations": counted, "operations_ratio": counted["flat"] / counted["local"],
        "flat_proposes_in_bfloat16": flat.propose,
        "parameters": {"local": sum(p.numel() for p in dictionary.parameters()),
                       "flat": 2 * world.width * features},
    }  # fmt: skip


def main() -> None:
    """Train, encode, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json")
    parser.add_argument("--propose", action="store_true", help="Both propose in bfloat16.")
    for name, value in {"width": 512, "parents": 32_768, "children": 31, "charts": 256, "rank": 4,
                        "active": 8, "batch": 1024, "steps": 400, "tokens": 1024,
                        "rounds": 3}.items():  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    world = Planted(options)
    dictionary, trained = train(options, world) if options.steps else (planted(options, world), {})
    report = {"machine": machine(), "options": vars(options), "train": trained,
              "encode": encode(options, dictionary, world)}  # fmt: skip
    print(json.dumps({name: report[name] for name in ("train", "encode")}, indent=1))
    if options.json:
        write_json(Path(options.json), report)


if __name__ == "__main__":
    main()
