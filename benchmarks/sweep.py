"""What six dictionaries from one stream cost, against one of them alone.

The six differ in k (half, once, twice) and in their seed (two); the one has the middle k. Both are
whole trainings, from the model's files to the dictionaries on disk, each in a process of its own, by
turns; imports and measuring on held-out text are left out. Sizes go with the width of the model.

    python benchmarks/sweep.py [--data FOLDER] [--only specimen] [--tokens 200000] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from capture import machine
from peers.worker import peak_mib, private_answers
from step import Worker, show

from monosemy.foundation.storage import write_json

TEXT = "text/tinystories/train.txt"
# Name -> where it lies in the folder of real models, and how its recipe differs from the demo's.
CASES: dict[str, tuple[str | None, dict]] = {
    "specimen": (None, {}),
    "stories260K": (
        "models/stories260K",
        {"site": "blocks.2.hook_resid_post", "latents": 1024, "k": 16, "batch": 2048,
         "context": 128, "block": 32_768},
    ),
    "minilm-l6": (
        "models/minilm-l6",
        {"site": "blocks.3.hook_normalized_resid_post", "latents": 3072, "k": 32, "batch": 2048,
         "context": 128, "block": 32_768},
    ),
    "minilm-l6, last block": (
        "models/minilm-l6",
        {"site": "blocks.5.hook_normalized_resid_post", "latents": 3072, "k": 32, "batch": 2048,
         "context": 128, "block": 32_768},
    ),
}  # fmt: skip


def work(order: dict) -> dict:
    """Train one, or six together, by the recipe of `order`."""
    import torch

    from monosemy.recipes.config import override
    from monosemy.recipes.dictionary import pace_of, train_dictionary
    from monosemy.recipes.recipe import DictionaryRecipe
    from monosemy.recipes.sweep import make_sweep
    from monosemy.recipes.sweeping import train_sweep

    torch.set_num_threads(order["threads"])
    recipe = override(DictionaryRecipe(), order["recipe"])
    over = {"k": [recipe.k // 2, recipe.k, 2 * recipe.k], "seed": [0, 1]}
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        if order["many"]:
            train_sweep(make_sweep(recipe, over), Path(folder) / "run")
        else:
            train_dictionary(recipe, Path(folder) / "run")
        seconds = time.perf_counter() - began
        pace = pace_of(Path(folder) / "run")
    return {
        "seconds": round(seconds, 2),
        "peak_mib": peak_mib(),
        "latents": recipe.latents,
        "k": recipe.k,
        "batch": recipe.batch,
        "tokens": recipe.steps * recipe.batch,
        **pace,
    }


def once(name: str, many: bool, options: argparse.Namespace) -> dict:
    place, changes = CASES[name]
    recipe = {"tokens": options.tokens, **changes}
    if place is not None:
        recipe |= {"model": str(options.data / place), "text": str(options.data / TEXT)}
    worker = Worker(sys.executable, "sweep", {"recipe": recipe, "many": many}, options.threads)
    try:
        return worker.answer()
    finally:
        worker.close()


def measure(options: argparse.Namespace) -> list[dict]:
    rows = []
    for name in options.only:
        found: dict[bool, list[dict]] = {False: [], True: []}
        for turn in range(options.rounds):
            for many in found:
                show(f"{name}: round {turn + 1} of {options.rounds}: {'six' if many else 'one'}")
                found[many].append(once(name, many, options))
        rows.append(row(name, found[False], found[True]))
    show("")
    return rows


def row(name: str, one: list[dict], six: list[dict]) -> dict:
    """Medians of seconds; the ratio is the median over rounds."""
    ratios = [b["seconds"] / a["seconds"] for a, b in zip(one, six, strict=True)]
    return {
        "name": name,
        **{key: one[0][key] for key in ("latents", "k", "batch", "tokens")},
        "one_seconds": statistics.median(run["seconds"] for run in one),
        "six_seconds": statistics.median(run["seconds"] for run in six),
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(min(ratios), 3), round(max(ratios), 3)],
        "one_shares": one[-1]["shares"],
        "six_shares": six[-1]["shares"],
        "peak_mib": {"one": one[-1]["peak_mib"], "six": six[-1]["peak_mib"]},
    }


def line(found: dict) -> str:
    step = found["one_shares"].get("step", 0)
    return (
        f"{found['name']:<24}{found['latents']:>9,}{found['batch']:>8,}{found['tokens']:>11,}"
        f"{found['one_seconds']:>9.1f}{found['six_seconds']:>9.1f}{found['ratio']:>9.2f}{step:>12.0%}"
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    add("--data", type=Path, default=beside, help="folder with models/ and text/ [../shared/data]")
    add("--only", nargs="+", choices=CASES, help="[all whose model is there]")
    add("--tokens", type=int, default=200_000)
    add("--rounds", type=int, default=3)
    add("--threads", type=int, default=len(os.sched_getaffinity(0)))
    add("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    options.data = options.data.resolve()
    there = [name for name, (place, _) in CASES.items()
             if place is None or (options.data / place).is_dir()]  # fmt: skip
    options.only = options.only or there
    if missing := [name for name in options.only if name not in there]:
        parser.error(f"no {', '.join(missing)} in {options.data}; name their folder with --data")
    return options


def main() -> None:
    if len(sys.argv) == 2 and sys.argv[1].startswith("{"):
        answer = private_answers()
        answer(work(json.loads(sys.argv[1])))
        return
    options = arguments()
    rows = measure(options)
    head = f"{'model':<24}{'latents':>9}{'batch':>8}{'tokens':>11}{'one s':>9}{'six s':>9}"
    print("\n".join([f"{head}{'six/one':>9}{'step of one':>12}", *map(line, rows)]))
    if options.json:
        command = [Path(sys.argv[0]).name, *sys.argv[1:]]
        described = {"machine": machine() | {"threads": options.threads}, "command": command}
        write_json(options.json, described | {"rounds": options.rounds, "rows": rows})


if __name__ == "__main__":
    main()
