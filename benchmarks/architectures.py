"""Every architecture at the same numbers of active latents, on the specimen, with three seeds.

    python benchmarks/architectures.py --out runs/architectures

trains what is missing under ``--out`` (stop it and start it again as you like), measures all of it on
held-out text beside baselines, and writes `reports/architectures.json`, the table in
`docs/architectures.md` and `docs/figures/architectures.svg`.

Seeds change where a dictionary begins; the stream of activations is the same for all. Dictionaries of
one architecture are trained together, by `monosemy sweep`'s own road; end-to-end ones alone.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import sys
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from capture import machine

from monosemy.cli.progress import choose
from monosemy.dictionaries import baselines, files
from monosemy.dictionaries.base import Dictionary
from monosemy.dictionaries.pruned import PrunedDictionary
from monosemy.dictionaries.selection import SignedTopK
from monosemy.evaluation.measure import measure
from monosemy.foundation.progress import SILENT, Progress
from monosemy.foundation.storage import read_json, write_bytes, write_json, write_text
from monosemy.recipes.config import override
from monosemy.recipes.dictionary import train_dictionary
from monosemy.recipes.evaluation import training_rows
from monosemy.recipes.recipe import DictionaryRecipe
from monosemy.recipes.setting import Setting, open_setting
from monosemy.recipes.sweep import make_sweep
from monosemy.recipes.sweeping import train_sweep
from monosemy.reports import pareto

HERE = Path(__file__).parent
DOCS = HERE.parent / "docs"
L0 = (16, 32, 64)
SEEDS = (0, 1, 2)
# For baselines, and for choosing the threshold of a pruning.
SAMPLE = 16_384
TOKENS, HELDOUT, LATENTS, BATCH = 200_000, 20_000, 1024, 512
# Early enough that AuxK has something to do in so short a run.
DEAD_AFTER = 40_000
NEURONS, INTO, OUT, MID, POST = (
    "blocks.0.mlp.hook_post", "blocks.0.mlp.hook_in", "blocks.0.hook_mlp_out",
    "blocks.0.hook_resid_mid", "blocks.0.hook_resid_post",
)  # fmt: skip
SHARES = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)

K = "k"
"""Sparsity is set by k; elsewhere a controller is given the number of active latents to end with."""
TARGET = "objective.target_l0"
TOPK, BATCHTOPK = {"selection": "topk"}, {"selection": "batchtopk"}
THRESHOLD = {"selection": "jumprelu", "objective.k_start": None}

# Name -> which key sets its sparsity, and what sets it apart.
ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "ReLU, L1": (TARGET, {"selection": "relu", "objective.l1": 0.1}),
    "gated": (TARGET, {"selection": "relu", "encoder": "gated", "objective.l1": 0.1}),
    "JumpReLU, step": (TARGET, THRESHOLD | {"objective.l0": 0.003}),
    "JumpReLU, tanh": (TARGET, THRESHOLD | {"objective.l0": 0.003, "objective.l0_form": "tanh"}),
    "JumpReLU, quadratic": (
        TARGET, THRESHOLD | {"objective.l0": 0.3, "objective.l0_form": "quadratic"},
    ),
    "TopK": (K, TOPK),
    "TopK, whitened": (K, TOPK | {"whiten": True}),
    "TopK, resampled": (K, TOPK | {"objective.aux": 0.0, "objective.resample_every": 100}),
    "BatchTopK": (K, BATCHTOPK),
    "Matryoshka": (K, BATCHTOPK | {"objective.prefixes": SHARES}),
    "Matryoshka, sampled": (K, BATCHTOPK | {"objective.prefixes_sampled": 5}),
    "LISTA": (K, BATCHTOPK | {"encoder": "lista"}),
    "LISTA, Matryoshka": (K, BATCHTOPK | {"encoder": "lista", "objective.prefixes": SHARES}),
    "transcoder": (K, BATCHTOPK | {"structure": "transcoder", "site": INTO, "target": OUT}),
    "skip transcoder": (
        K, BATCHTOPK | {"structure": "skip_transcoder", "site": INTO, "target": OUT},
    ),
    "cross-layer transcoder": (
        K, BATCHTOPK | {"structure": "cross_layer", "site": INTO, "target": OUT},
    ),
    "crosscoder": (K, BATCHTOPK | {"structure": "crosscoder", "site": f"{MID},{POST}"}),
    "end to end (KL)": (
        K, TOPK | {"end_to_end.loss": "kl", "optim.learning_rate": 5e-4, "context": 128},
    ),
    # A step costs as many encoder products as latents are chosen.
    "matching pursuit, a quarter of the tokens": (
        K, TOPK | {"encoder": "matching_pursuit", "tokens": TOKENS // 4},
    ),
}  # fmt: skip
PRUNED = "BatchTopK, pruned"
COLUMNS = {
    "l0": "L0",
    "explained_variance": "EV",
    "ce_recovered_zero": "CE",
    "dead_fraction": "dead",
}


def recipe_of(name: str, l0: int, seed: int) -> DictionaryRecipe:
    """What is trained at one point of the table."""
    key, changes = ARCHITECTURES[name]
    base = DictionaryRecipe(
        tokens=TOKENS, latents=LATENTS, batch=BATCH, checkpoint=1_000_000, block=65_536
    )
    dead = {"objective.dead_after": DEAD_AFTER}
    return override(base, {**dead, **_begun(name, l0), **changes, key: l0, "seed": seed})


def _begun(name: str, l0: int) -> dict[str, Any]:
    """The k to begin with, where there is one; every round of a pursuit costs an encoder's product."""
    key, changes = ARCHITECTURES[name]
    falls = key == K and changes.get("encoder") != "matching_pursuit"
    return {"objective.k_start": 4 * l0 if falls else None}


def train(name: str, out: Path, progress: Progress) -> dict[str, Dictionary]:
    """The dictionaries of one architecture, by ``L0/seed``; what is there already is read."""
    folder = out / name.replace(", ", "-").replace(" ", "-")
    places = {f"{l0}-{seed}": (l0, seed) for l0 in L0 for seed in SEEDS}
    if not all((folder / place / "dictionary" / "cfg.json").exists() for place in places):
        _train(name, folder, places, progress)
    return {place: files.load(folder / place / "dictionary") for place in places}


def _train(
    name: str, folder: Path, places: Mapping[str, tuple[int, int]], progress: Progress
) -> None:
    key, changes = ARCHITECTURES[name]
    if "end_to_end.loss" in changes:
        for place, (l0, seed) in places.items():
            train_dictionary(recipe_of(name, l0, seed), folder / place, progress)
        return
    variants = [
        {
            "name": place,
            key: l0,
            "seed": seed,
            **({"objective.k_start": 4 * l0} if key == K else {}),
        }
        for place, (l0, seed) in places.items()
    ]
    train_sweep(make_sweep(recipe_of(name, L0[0], 0), {}, variants), folder, progress)


# --- measuring -----------------------------------------------------------------------------------


def measured(
    recipe: DictionaryRecipe, dictionaries: Mapping[str, Dictionary], progress: Progress
) -> dict[str, dict[str, Any]]:
    """All dictionaries of one place in one pass over held-out text."""
    heldout, rows = _opened(recipe, progress)
    written = sum(heldout.places.widths[1])
    found = measure(
        heldout.places.models, heldout.places.writes, dictionaries, heldout.contexts,
        rows[:, -written:].mean(0), reads=heldout.places.reads, compute=recipe.compute,
        progress=progress,
    )  # fmt: skip
    return {name: one.to_json() for name, one in found.items()}


_OPENED: dict[Any, tuple[Setting, torch.Tensor]] = {}


def _opened(recipe: DictionaryRecipe, progress: Progress) -> tuple[Setting, torch.Tensor]:
    place = recipe.site, recipe.target
    if place not in _OPENED:
        plain = replace(recipe, context=256)  # the same text for all, whatever they learned from
        heldout = open_setting(plain, "heldout", HELDOUT, progress)
        _OPENED[place] = heldout, training_rows(plain, heldout, progress)
    return _OPENED[place]


def prune(dictionaries: Mapping[str, Dictionary], rows: torch.Tensor) -> dict[str, Dictionary]:
    """Each of twice the L0, pruned so far that as many stay as wanted on average."""
    found = {}
    for l0 in L0[:-1]:
        for seed in SEEDS:
            inner = dictionaries[f"{2 * l0}-{seed}"]
            judge = PrunedDictionary(inner)
            with torch.no_grad():
                scores = judge.scores(inner.code(rows), rows)
            kept = min(l0 * len(rows), len(scores))
            threshold = float(scores.topk(kept).values[-1])
            found[f"{l0}-{seed}"] = PrunedDictionary(inner, threshold).eval()
    return found


def baselines_at(rows: torch.Tensor) -> dict[str, Dictionary]:
    """By ``name: L0``; none of them has a seed that matters, but the random one."""
    draw = torch.Generator().manual_seed(0)
    found: dict[str, Dictionary] = {}
    ica = baselines.independent_components(rows, L0[0], draw)
    for l0 in L0:
        found[f"neurons: {l0}"] = baselines.neurons(rows.shape[1], l0)
        found[f"PCA: {l0}"] = baselines.principal_components(rows, l0)
        found[f"ICA: {l0}"] = copy.deepcopy(ica)
        found[f"ICA: {l0}"].selection = SignedTopK(l0)
        found[f"random: {l0}"] = baselines.random_directions(rows, LATENTS, l0, draw)
    return {name: one.eval() for name, one in found.items()}


def entry(name: str, l0: int, seed: int | None, metrics: dict[str, Any]) -> dict[str, Any]:
    """One row of the report, in the form that the figure of a sweep takes."""
    return {
        "name": f"{name}, {l0}" + ("" if seed is None else f", seed {seed}"),
        "changes": {"architecture": name, "k": l0, "seed": seed},
        "dictionary": {"architecture": name},
        "metrics": {key: metrics[key] for key in (*COLUMNS, "kl_recovered_zero")},
    }


def run(out: Path, progress: Progress, only: list[str]) -> dict[str, Any]:
    """Train and measure everything."""
    entries = []
    for name in ARCHITECTURES:
        if only and name not in only:
            continue
        dictionaries = train(name, out, progress)
        recipe = recipe_of(name, L0[0], 0)
        groups = {name: dictionaries}
        if name == "BatchTopK":
            rows = _opened(recipe, progress)[1][:SAMPLE]
            groups[PRUNED] = prune(dictionaries, rows)
        for group, members in groups.items():
            saved = out / f"{group.replace(', ', '-').replace(' ', '-')}.json"
            if not saved.exists():
                write_json(saved, measured(recipe, members, progress))
            for place, metrics in read_json(saved, "measurements").items():
                l0, seed = map(int, place.split("-"))
                entries.append(entry(group, l0, seed, metrics))
    if not only:
        recipe = recipe_of("TopK", L0[0], 0)
        found = measured(recipe, baselines_at(_opened(recipe, progress)[1][:SAMPLE]), progress)
        for name, metrics in found.items():
            kind, l0 = name.split(": ")
            entries.append(entry(kind, int(l0), None, metrics))
    return {
        "machine": machine(),
        "command": "python benchmarks/architectures.py --out runs/architectures",
        "settings": {"tokens": TOKENS, "heldout": HELDOUT, "latents": LATENTS, "batch": BATCH},
        "recipes": {name: asdict(recipe_of(name, L0[0], 0)) for name in ARCHITECTURES},
        "varied": ["architecture", "k", "seed"],
        "dictionaries": entries,
    }


# --- showing -------------------------------------------------------------------------------------

HEAD = """# How the architectures compare

Made by `python benchmarks/architectures.py --out runs/architectures`; every number, with its
interval over documents, is in [the report](../benchmarks/reports/architectures.json).

{latents:,} latents (of each layer, for the cross-layer transcoder) on the specimen, {tokens:,}
activations in batches of {batch}, the same stream for all; the mean over three seeds and, after ±, half
the distance between the largest and the smallest. Measured on {heldout:,} held-out tokens. *EV* is
explained variance, *CE* the cross-entropy recovered against zero ablation. Learning rate, batch and
schedule are those of the demo for all of them, and were chosen for BatchTopK; nothing was tuned for the
others but where [the log](log.md) says so. Short runs: read differences, not heights.

![L0 against quality, a line an architecture](figures/architectures.svg)

The figure shows the first table; random directions and end-to-end dictionaries, which hardly explain
variance, are left out of it.
"""
SECTIONS = {
    "The 512 neurons": ("autoencoder",),
    "From the MLP's input to its output": ("transcoder", "skip_transcoder", "cross_layer"),
    "The stream before and after the MLP together": ("crosscoder",),
}


def drawn(report: dict[str, Any]) -> dict[str, Any]:
    """What the figure shows, called by the names of the architectures."""
    structures = {name: recipe["structure"] for name, recipe in report["recipes"].items()}
    left_out = {name for name, structure in structures.items() if structure != "autoencoder"}
    left_out |= {"random", "end to end (KL)"}
    shown = [e for e in report["dictionaries"] if e["changes"]["architecture"] not in left_out]
    return {**report, "varied": ["k", "seed"], "dictionaries": shown}


def document(report: dict[str, Any]) -> str:
    """The page of the documentation."""
    parts = [HEAD.format(**report["settings"])]
    structures = {name: recipe["structure"] for name, recipe in report["recipes"].items()}
    for title, wanted in SECTIONS.items():
        names = dict.fromkeys(e["changes"]["architecture"] for e in report["dictionaries"])
        here = [n for n in names if structures.get(n, "autoencoder") in wanted]
        if here:
            parts += [f"## {title}\n", _table(report, here)]
    return "\n".join(parts)


def _table(report: dict[str, Any], names: list[str]) -> str:
    head = " | ".join(f"L0 | EV | CE at {l0} | dead" for l0 in L0)
    lines = [f"| architecture | {head} |", "| --- |" + " ---: |" * (4 * len(L0))]
    for name in names:
        cells = [cell for l0 in L0 for cell in _cells(report, name, l0)]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cells(report: dict[str, Any], name: str, l0: int) -> list[str]:
    chosen = [
        e["metrics"] for e in report["dictionaries"]
        if e["changes"]["architecture"] == name and e["changes"]["k"] == l0
    ]  # fmt: skip
    return [_cell([m[key]["value"] for m in chosen], key) for key in COLUMNS]


def _cell(values: list[float | None], key: str) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return ""
    scale, digits = {"l0": (1, 1), "dead_fraction": (100, 1)}.get(key, (1, 3))
    unit = " %" if key == "dead_fraction" else ""
    middle = f"{scale * statistics.mean(known):.{digits}f}{unit}"
    spread = scale * (max(known) - min(known)) / 2
    return middle if len(known) == 1 else f"{middle} ±{spread:.{digits}f}"


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/architectures"))
    parser.add_argument(
        "--only", nargs="*", default=[], help="names of architectures; writes nothing"
    )
    parser.add_argument("--quiet", action="store_true")
    given = parser.parse_args()
    report = run(given.out, SILENT if given.quiet else choose(False), given.only)
    if given.only:
        json.dump(report["dictionaries"], sys.stdout, indent=1)
        return
    write_json(HERE / "reports" / "architectures.json", report)
    write_text(DOCS / "architectures.md", document(report))
    write_text(DOCS / "figures" / "architectures.svg", pareto.svg(drawn(report)))
    write_bytes(given.out / "architectures.png", pareto.png(drawn(report)))


if __name__ == "__main__":
    main()
