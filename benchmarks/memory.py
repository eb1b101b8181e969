"""Memory stated before a run against the peak that the run had, shape by shape.

For each shape a fresh process makes the plan, and another trains; both run the same recipe, and the
second says its peak resident memory. Few steps are enough: what is held does not grow with them.
``libraries_mib`` is the peak of a process that only takes tiny steps: what the plan's own measure of
it stands for.

    python benchmarks/memory.py [--only NAME ...] [--data FOLDER] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from capture import machine

from monosemy.foundation.storage import write_json

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
STORIES = {"model": "models/stories260K", "site": "blocks.2.hook_resid_post"}
MINILM = {"model": "models/minilm-l6", "site": "blocks.3.hook_normalized_resid_post",
          "context": 128}  # fmt: skip
TALES, BOOKS = {"text": "text/tinystories/train.txt"}, {"text": "text/books/train.txt.gz"}
TOPK = {"selection": "topk", "k": 32}
# Name -> what differs from the demo's recipe; models and texts lie in the folder of data.
SHAPES: dict[str, dict] = {
    "demo": {"tokens": 140_000},
    "small": {"latents": 1024, "block": 8192, "tokens": 16_000, **TALES, **TOPK},
    "wide": {"latents": 32_768, "batch": 2048, "tokens": 20_000, **TALES},
    "wide, float32": {"latents": 32_768, "batch": 2048, "tokens": 20_000, "precision": "float32",
                      **TALES, **TOPK},
    "stories260K": {"latents": 32_768, "batch": 4096, "block": 65_536, "tokens": 70_000,
                    **STORIES, **TALES, **TOPK},
    "minilm": {"latents": 8192, "batch": 1024, "block": 16_384, "tokens": 20_000,
               **MINILM, **TALES},
    "minilm, bfloat16": {"latents": 16_384, "batch": 512, "block": 32_768, "tokens": 40_000,
                         "dtype": "bfloat16", **MINILM, **TALES, **TOPK},
    "minilm, books": {"latents": 2048, "batch": 1024, "block": 8192, "tokens": 16_000,
                      **MINILM, **BOOKS},
    "shards": {"latents": 4096, "batch": 4096, "block": 65_536, "tokens": 70_000, "shards": True,
               **STORIES, **TALES, **TOPK},
    "relu": {"latents": 8192, "batch": 512, "tokens": 10_000, "selection": "relu",
             "objective.l1": 0.1, **TALES},
    "jumprelu": {"latents": 4096, "batch": 1024, "tokens": 10_000, "selection": "jumprelu",
                 "objective.l0": 0.003, **TALES},
    "gated": {"latents": 4096, "batch": 1024, "tokens": 10_000, "encoder": "gated", "selection": "relu",
              "objective.l1": 0.1, **TALES},
    "matryoshka": {"latents": 8192, "batch": 1024, "tokens": 20_000,
                   "objective.prefixes": "0.0625,0.125,0.25,0.5,1", **TALES},
}  # fmt: skip


def measure(name: str, data: Path, folder: Path) -> dict:
    recipe = located(SHAPES[name], data)
    if recipe.pop("shards", None):
        recipe["shards"] = str(folder / "shards")
        ask("capture", recipe)
    planned = ask("plan", recipe)
    measured = ask("train", recipe | {"out": str(folder / "run")})["peak_mib"]
    total = planned["total"]
    return {
        "shape": {"name": name, **SHAPES[name]},
        "planned_mib": total,
        "measured_mib": round(measured),
        "error": round(total / measured - 1, 3),
        "parts": planned,
    }


def located(shape: dict, data: Path) -> dict:
    """`shape` with its model and text in the folder `data`."""
    return shape | {name: str(data / shape[name]) for name in ("model", "text") if name in shape}


def ask(what: str, order: dict) -> dict:
    """What a fresh process that does `what` answers."""
    command = [sys.executable, __file__, "--child", what, json.dumps(order)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{what} {order}:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def child(what: str, order: dict) -> dict:
    return {"plan": plan, "train": train, "capture": capture, "libraries": libraries}[what](order)


def plan(order: dict) -> dict:
    from monosemy.recipes.plan import plan

    return plan(recipe_of(order))["memory_mib"]


def train(order: dict) -> dict:
    from peers.worker import peak_mib

    from monosemy.recipes.dictionary import train_dictionary

    out = order.pop("out")
    train_dictionary(recipe_of(order), out)
    return {"peak_mib": peak_mib()}


def capture(order: dict) -> dict:
    from monosemy.data.capture import capture
    from monosemy.recipes.setting import open_setting

    folder = order.pop("shards")
    setting = open_setting(recipe_of(order))
    capture(setting.loaded, [setting.site], setting.contexts, folder)
    return {}


def libraries(order: dict) -> dict:
    from peers.worker import peak_mib

    from monosemy.models.loading import load
    from monosemy.recipes import speeds

    load("specimen")
    speeds.BATCH, speeds.LATENTS, speeds.WIDTH, speeds.K, speeds.COPIED = 128, 128, 64, 8, 1 << 20
    speeds.measure("cpu")
    return {"peak_mib": peak_mib()}


def recipe_of(order: dict):
    from monosemy.recipes.config import override
    from monosemy.recipes.recipe import DictionaryRecipe

    return override(DictionaryRecipe(checkpoint=5), order)


def line(row: dict) -> str:
    numbers = f"{row['planned_mib']:>9,}{row['measured_mib']:>10,}{row['error']:>+8.1%}"
    return f"{row['shape']['name']:<20}{numbers}"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=SHAPES, default=list(SHAPES), metavar="NAME")
    parser.add_argument("--data", type=Path, default=DATA, help="folder with models/ and text/")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    options = arguments()
    if options.child:
        print(json.dumps(child(options.child[0], json.loads(options.child[1]))))
        return
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # a busy machine is slow, not larger
    libraries_mib = ask("libraries", {})["peak_mib"]
    print(f"{'':<20}{'planned':>9}{'measured':>10}{'error':>8}", flush=True)
    rows = []
    for name in options.only:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(measure(name, options.data, Path(folder)))
        print(line(rows[-1]), flush=True)
    if options.json:
        found = {"machine": machine(), "libraries_mib": libraries_mib, "rows": rows}
        write_json(options.json, found)


if __name__ == "__main__":
    main()
