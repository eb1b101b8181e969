"""Local codes against flat dictionaries on real activations: fit, what the model loses, absorption.

    python benchmarks/local_codes.py --out runs/local-codes --seeds 3
    python benchmarks/local_codes.py --model PATH --site blocks.2.hook_resid_post --text FILE \
        --latents 2048 --parents 410 --k 8 --hierarchy words --out runs/local-codes-stories

Trains what is missing under ``--out`` (activations are read once into ``--out/activations``), measures
everything on held-out text in one pass, and absorption on a labelled hierarchy. All dictionaries have
about as many features (``--latents``; a local code has ``--parents`` and their children) and the same
L0. Operations are counted for encoding one token: ``2 d m`` for a flat encoder, twice that for LISTA,
`local.operations` for local codes.
"""

from __future__ import annotations

import argparse
import json
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from capture import machine

from monosemy.cli.progress import choose
from monosemy.data.capture import capture
from monosemy.dictionaries import baselines, files
from monosemy.dictionaries.base import Dictionary
from monosemy.dictionaries.local import LocalDictionary, operations
from monosemy.evaluation.measure import measure
from monosemy.evaluation.structure.absorption import absorption, probe_labels
from monosemy.foundation.storage import read_json, write_json
from monosemy.recipes.absorption import open_hierarchy, read_labelled
from monosemy.recipes.config import override
from monosemy.recipes.dictionary import train_dictionary
from monosemy.recipes.evaluation import training_rows
from monosemy.recipes.recipe import DictionaryRecipe
from monosemy.recipes.setting import open_setting

LOCAL = {"encoder": "local", "objective.k_fall": 0.3}
SHARES = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
KINDS: dict[str, dict[str, Any]] = {
    "BatchTopK": {},
    "TopK": {"selection": "topk"},
    "Matryoshka": {"objective.prefixes": SHARES},
    "LISTA": {"encoder": "lista"},
    "local, a chart each": LOCAL | {"local.charts": 0},
    "local, shared charts": LOCAL | {"local.charts": "shared"},
    "local, random charts": LOCAL | {"local.charts": "shared", "local.random_charts": True},
}
# Tokens that labels are read on, of training and of held-out text each.
LABELLED = 40_000


def recipe_of(kind: str, seed: int, options: argparse.Namespace) -> DictionaryRecipe:
    """What is trained."""
    base = DictionaryRecipe(
        model=options.model, site=options.site, text=options.text, tokens=options.tokens,
        k=options.k, latents=options.latents, checkpoint=1_000_000, batch=options.batch,
    )  # fmt: skip
    changes = {"objective.k_start": 4 * options.k, **KINDS[kind], "seed": seed}
    if "local" in kind:
        n = round(options.latents / options.parents) - 1
        changes |= {"latents": options.parents, "local.children": n, "local.share": options.share,
                    "local.rank": options.rank, "local.rounds": options.rounds}  # fmt: skip
        if changes["local.charts"] == "shared":
            changes["local.charts"] = max(options.parents // 8, 1)
    return override(base, changes)


def activations(options: argparse.Namespace, out: Path) -> str:
    """The folder with the training activations; read once."""
    folder = out / "activations"
    if not (folder / "manifest.json").exists():
        setting = open_setting(recipe_of("BatchTopK", 0, options), "train", progress=choose(False))
        reads = list(setting.places.reads)
        capture(setting.places.loaded, reads, setting.contexts, folder, progress=choose(False))
    return str(folder)


def train(kind: str, seed: int, options: argparse.Namespace, out: Path) -> Dictionary:
    """The dictionary of one cell."""
    folder = out / f"{kind.replace(', ', '-').replace(' ', '-')}-{seed}"
    recipe = replace(recipe_of(kind, seed, options), shards=activations(options, out))
    if not (folder / "dictionary" / files.CONFIG).exists():
        train_dictionary(recipe, folder, choose(False))
    return files.load(folder / "dictionary")


def cost(dictionary: Dictionary, rows: torch.Tensor) -> float:
    """Operations of encoding a token, in millions."""
    if isinstance(dictionary, LocalDictionary):
        with torch.no_grad():
            proposed = float(dictionary.parents.code(rows).counts.double().mean())
        return operations(dictionary, proposed) / 1e6
    products = 2 if hasattr(dictionary, "step") else 1
    return products * 2 * dictionary.width * dictionary.latents / 1e6


def main() -> None:
    """Train, measure, print, write."""
    options = _options()
    out = Path(options.out)
    made = {f"{kind}/{seed}": train(kind, seed, options, out)
            for seed in range(options.seeds) for kind in options.kinds or KINDS}  # fmt: skip
    recipe = recipe_of("BatchTopK", 0, options)
    heldout = open_setting(recipe, "heldout", options.heldout, choose(False))
    rows = training_rows(recipe, heldout, choose(False))
    draw = torch.Generator().manual_seed(0)
    made["neurons/0"] = baselines.neurons(rows.shape[1], options.k)
    made["PCA/0"] = baselines.principal_components(rows, options.k)
    made["random/0"] = baselines.random_directions(rows, options.latents, options.k, draw)
    found = measure(
        heldout.places.models, heldout.places.writes, made, heldout.contexts, rows.mean(0),
        reads=heldout.places.reads, compute=recipe.compute, progress=choose(False),
    )  # fmt: skip
    absorbed = _absorption(recipe, options, made)
    cells = {
        name: {**one.to_json(), "mega_operations": cost(made[name], rows[:8192]),
               "features": made[name].latents, "absorption": absorbed.get(name)}
        for name, one in found.items()
    }  # fmt: skip
    report = {"machine": machine(), "options": vars(options), "cells": cells,
              "table": table(cells)}  # fmt: skip
    write_json(out / "report.json", report)
    if options.json:
        write_json(Path(options.json), report)
    print(json.dumps(report["table"], indent=1))


def _absorption(
    recipe: DictionaryRecipe, options: argparse.Namespace, made: dict[str, Dictionary]
) -> dict[str, Any]:
    labelled = read_labelled(recipe, open_hierarchy(options.hierarchy), LABELLED, choose(False))
    probed = probe_labels(
        labelled.activations, labelled.labels, labelled.heldout, compute=recipe.compute,
        progress=choose(False),
    )  # fmt: skip
    cache = Path(options.out) / "absorption.json"
    known = read_json(cache, "absorption measured before") if cache.exists() else {}
    for name, dictionary in made.items():
        if name not in known and not name.startswith(("neurons", "PCA")):
            measured = absorption(dictionary, probed.x, probed.labels, probed=probed,
                                  compute=recipe.compute, progress=choose(False))  # fmt: skip
            known[name] = measured.to_json()
            write_json(cache, known)
    return known


def table(cells: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Mean over seeds, and half the distance between the largest and the smallest."""
    kinds = dict.fromkeys(name.rpartition("/")[0] for name in cells)
    return {kind: {key: _over([cell for name, cell in cells.items()
                               if name.rpartition("/")[0] == kind], key)
                   for key in ("l0", "explained_variance", "ce_recovered_zero", "dead_fraction",
                               "mega_operations", "features", "absorption_fraction",
                               "full_absorption", "split_latents")}
            for kind in kinds}  # fmt: skip


def _over(cells: list[dict[str, Any]], key: str) -> list[float] | None:
    values = [value for cell in cells if (value := _value(cell, key)) is not None]
    if not values:
        return None
    return [round(statistics.mean(values), 4), round((max(values) - min(values)) / 2, 4)]


def _value(cell: dict[str, Any], key: str) -> float | None:
    absorbed = "absor" in key or "split" in key
    place = (cell.get("absorption") or {}).get("metrics") if absorbed else cell
    value = (place or {}).get(key)
    if isinstance(value, dict):
        value = value.get("value")
    return None if value is None else float(value)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="specimen")
    parser.add_argument("--site", default="blocks.0.mlp.hook_post")
    parser.add_argument("--text", default="stdlib")
    parser.add_argument("--hierarchy", default="python")
    parser.add_argument("--out", default="runs/local-codes")
    parser.add_argument("--json")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, metavar="KIND",
                        help=f"Only these of: {', '.join(KINDS)}.")  # fmt: skip
    for name, value in {"seeds": 3, "tokens": 200_000, "heldout": 40_000, "latents": 4096,
                        "parents": 820, "rank": 4, "rounds": 1, "k": 16,
                        "batch": 256}.items():  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--share", type=float, default=0.3)
    return parser.parse_args()


if __name__ == "__main__":
    main()
