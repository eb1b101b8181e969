"""Does it matter that bfloat16 proposes which latents are active, when float32 decides?

Two questions, on what was really trained:

1. *Recall*: for each trained dictionary, on held-out activations, how many of the exact active
   latents the bfloat16 road keeps, and how many bfloat16 alone would have needed among its first
   ``k, 1.25 k, 1.5 k, 2 k`` proposals.
2. *Quality*: the same recipe with ``precision = "float32"`` and ``"bfloat16"``, over seeds: held-out
   explained variance and dead latents on the specimen; on known truth (sparse sums of unit
   directions that are known), how close the directions found are to the true ones.

    python benchmarks/precision.py [--seeds 3] [--tokens 400000] [--json FILE]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from monosemy.data.capture import LiveSource
from monosemy.dictionaries.base import Dictionary
from monosemy.foundation.storage import write_json
from monosemy.recipes.dictionary import begin, train_dictionary
from monosemy.recipes.recipe import DictionaryRecipe
from monosemy.recipes.setting import Widths, open_setting
from monosemy.tensors.axes import Tensor
from monosemy.tensors.kernels import PreActivations
from monosemy.training.loop import advance_program
from monosemy.training.optim import Optimiser
from monosemy.training.start import look

PRECISIONS = ("float32", "bfloat16")
EXCESS = (1.0, 1.25, 1.5, 2.0)
TRUE, WIDTH, ACTIVE = 512, 128, 8


def recall(dictionary: Dictionary, rows: Tensor, k: int) -> dict:
    """Of the exact `k` of every token, the share that each way keeps."""
    shifted = (rows - dictionary.b_dec).detach()
    rows_of = dictionary.W_enc.detach(), dictionary.b_enc.detach()
    exact, kept = (
        PreActivations(shifted, *rows_of, propose).largest(k) for propose in (False, True)
    )
    key = lambda code: code.rows * code.latents + code.indices  # noqa: E731
    found = {"with rescoring": torch.isin(key(exact), key(kept)).double().mean().item()}
    low = (shifted.bfloat16() @ rows_of[0].bfloat16().T).float() + rows_of[1]
    for excess in EXCESS:
        best = low.topk(round(excess * k), dim=1).indices
        mask = torch.zeros_like(low, dtype=torch.bool).scatter(1, best, True)
        found[f"first {excess:g} k"] = mask[exact.rows, exact.indices].double().mean().item()
    return found


@torch.no_grad()
def judged(dictionary: Dictionary, rows: Tensor) -> dict:
    code = dictionary.code(rows)
    rest = rows - dictionary.decode(code)
    spread = (rows - rows.mean(0)).square().sum()
    alive = torch.bincount(code.indices, minlength=dictionary.latents) > 0
    return {
        "explained_variance": 1 - (rest.square().sum() / spread).item(),
        "l0": len(code.values) / len(rows),
        "dead": 1 - alive.double().mean().item(),
    }


def on_the_specimen(recipe: DictionaryRecipe, rows: Tensor, folder: Path) -> tuple[dict, dict]:
    dictionary = train_dictionary(recipe, folder)
    return judged(dictionary, rows), recall(dictionary, rows[:4096], recipe.k)


def on_known_truth(precision: str, seed: int, steps: int = 1500) -> dict:
    """Mean over true directions of the cosine with the nearest one found."""
    draw = torch.Generator().manual_seed(seed)
    truth = torch.nn.functional.normalize(torch.randn(TRUE, WIDTH, generator=draw), dim=1)

    def batch() -> Tensor:
        active = torch.rand(512, TRUE, generator=draw) < ACTIVE / TRUE
        return (active * (1 + torch.rand(512, TRUE, generator=draw))) @ truth

    recipe = DictionaryRecipe(
        latents=TRUE, selection="topk", k=ACTIVE, batch=512, tokens=512 * steps, seed=seed,
        precision=precision,
    )  # fmt: skip
    first = batch()
    width = (WIDTH,)
    program = begin(recipe, Widths(width, width), first, look(first), steps)
    optimiser = Optimiser(program.module.parameters(), recipe.optim, steps)
    for step in range(steps):
        advance_program(program, optimiser, batch(), step)
    found = program.result().directions()
    return {"cosine": (truth @ found.T).amax(1).mean().item()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=400_000)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    base = DictionaryRecipe(selection="topk", tokens=arguments.tokens)
    setting = open_setting(base, "heldout", 20_000)
    rows = LiveSource(setting.loaded, setting.site, setting.contexts).rows(0, 20_000)
    table, recalls = [], []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(arguments.seeds):
            for precision in PRECISIONS:
                recipe = replace(base, seed=seed, precision=precision)
                judgement, kept = on_the_specimen(recipe, rows, Path(folder) / f"{precision}{seed}")
                truth = on_known_truth(precision, seed)
                table.append({"seed": seed, "precision": precision, **judgement, **truth})
                recalls.append({"seed": seed, "precision": precision, **kept})
                print(table[-1], recalls[-1], sep="\n")
    for name in ("explained_variance", "dead", "cosine"):
        by = [[row[name] for row in table if row["precision"] == p] for p in PRECISIONS]
        gaps = [b - a for a, b in zip(*by, strict=True)]
        means = ", ".join(
            f"{p} {statistics.mean(values):.5f}" for p, values in zip(PRECISIONS, by, strict=True)
        )
        seeds = statistics.stdev(by[0]) if len(gaps) > 1 else float("nan")
        print(
            f"{name}: {means}; differences {[round(g, 5) for g in gaps]}, spread of seeds {seeds:.5f}"
        )
    if arguments.json:
        write_json(arguments.json, {"quality": table, "recall": recalls})


if __name__ == "__main__":
    main()
