"""One cell of a comparison where the truth is known: a world, a kind of dictionary, a seed."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from monosemy.data.features.source import CHUNK, WorldSource
from monosemy.data.features.truth import Samples
from monosemy.data.features.world import World
from monosemy.data.features.worlds import open_world
from monosemy.dictionaries import files
from monosemy.dictionaries.base import Dictionary
from monosemy.evaluation.readers import DictionaryReader, Reader
from monosemy.evaluation.recovery import Recovery, RecoveryTally
from monosemy.foundation.errors import nearest, refuse
from monosemy.foundation.progress import SILENT, Progress
from monosemy.recipes import config
from monosemy.recipes.dictionary import train_dictionary
from monosemy.recipes.recipe import DictionaryRecipe, check
from monosemy.recipes.setting import START_ROWS
from monosemy.recipes.truth_arms import ARMS, Around, numbers_in
from monosemy.recipes.truth_kinds import KINDS
from monosemy.recipes.truth_protocol import Protocol, protocol_for, world_seed
from monosemy.tensors.compute import Compute

HEADLINES = (
    "l0", "f1", "mcc", "uniqueness", "parent_f1", "child_f1", "silent_parent_rate", "fvu",
)  # fmt: skip
"""What a cell says first."""


def run_cell(
    world: str,
    kind: str,
    seed: int = 0,
    changes: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    device: str = "cpu",
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Learn a dictionary of `world` by `kind`, and measure which features it found.

    It learns by the ordinary road (`recipes.dictionary`) and is measured on fresh samples, which
    are the same for every kind with this seed.

    Parameters
    ----------
    world, kind : names; see `WORLDS`, `KINDS`, `ARMS`.
    seed : of the dictionary, of its samples, and (where the protocol says so) of the world.
    changes : to the protocol: ``tokens``, ``latents``, ``l0``, ...
    settings : to the recipe that the kind makes; keys as of ``monosemy train --set``.
    out : a folder that keeps the ``run``, to go on with after a stop, and the ``dictionary`` as it
        was measured; nothing is kept without it.

    Returns
    -------
    ``{world, dictionary, seed, parameters, l0, f1, mcc, ...}`` as JSON values, then ``metrics`` with
    intervals, the protocol and the recipe.

    Errors
    ------
    `UserError` for unknown names, conditions that cannot be, and whatever a training refuses.
    """
    refuse(cell_reasons(kind, seed, settings), f"this cell of {world}")
    protocol = protocol_for(world, changes)
    opened = open_world(world, world_seed(protocol, seed))
    began, compute = time.perf_counter(), Compute(device, seed=seed)
    recipe = None if kind in ARMS else recipe_of(world, kind, seed, protocol, settings, device)
    if recipe is None:
        reader = ARMS[kind](Around(opened, protocol, compute, progress))
    else:
        reader = DictionaryReader(_learned(recipe, kind, opened, protocol, out, progress))
    trained = time.perf_counter() - began
    found = measure(reader, opened, protocol.samples, compute, progress)
    cell = {
        "world": world,
        "dictionary": kind,
        "seed": seed,
        "world_seed": world_seed(protocol, seed),
        "latents": reader.directions.shape[0],
        "parameters": numbers_in(reader),
        **{name: found.value(name) for name in HEADLINES},
        "samples": found.tokens,
        "seconds": {"train": round(trained, 1),
                    "measure": round(time.perf_counter() - began - trained, 1)},
        "metrics": found.to_json(),
        "protocol": asdict(protocol),
        "recipe": asdict(replace(recipe, memory=None)) if recipe else None,
    }  # fmt: skip
    return plain(cell)


def plain(value: dict[str, Any]) -> dict[str, Any]:
    """As a file gives it back: lists, no tuples."""
    found: dict[str, Any] = json.loads(json.dumps(value))
    return found


def recipe_of(
    world: str, kind: str, seed: int, protocol: Protocol,
    settings: Mapping[str, Any] | None = None, device: str = "cpu",
) -> DictionaryRecipe:  # fmt: skip
    """What a kind learns by, with some settings changed; refused here where it cannot be."""
    recipe = replace(KINDS[kind].recipe(world, protocol, seed), device=device)
    recipe = config.override(recipe, settings or {})
    check(recipe)
    return recipe


def measure(
    reader: Reader, world: World, samples: int, compute: Compute, progress: Progress = SILENT
) -> Recovery:
    """What `reader` found of the world, on fresh samples."""
    tally = RecoveryTally(reader, world.features)
    with progress.task("measure", samples, "samples") as task:
        for piece in heldout(world, samples, compute):
            tally.add(piece)
            task.advance(len(piece.x))
    return tally.recovery(compute)


def heldout(world: World, samples: int, compute: Compute) -> Iterator[Samples]:
    """Samples that nothing was trained on, piece by piece: a seed of their own draws them."""
    seed = compute.generator("held-out samples").initial_seed()
    source = WorldSource(world, samples, replace(compute, seed=seed))
    for start in range(0, samples, CHUNK):
        yield source.samples(start, min(start + CHUNK, samples))


def cell_reasons(kind: str, seed: int, settings: Mapping[str, Any] | None) -> list[str]:
    """Why there is no such cell."""
    reasons, known = [], (*KINDS, *ARMS)
    if kind not in known:
        reasons.append(
            f"unknown dictionary {kind!r}; known: {', '.join(known)}{nearest(kind, known)}"
        )
    if seed < 0:
        reasons.append(f"seed = {seed}; wanted at least 0")
    if kind in ARMS and settings:
        reasons.append(f"{kind} learns by no recipe, so nothing can be set: {', '.join(settings)}")
    kept = sorted({"world", "world_seed", "seed"} & set(settings or {}))
    if kept:
        reasons.append(f"{', '.join(kept)} of a cell are its own; they cannot be set")
    return reasons


def _learned(
    recipe: DictionaryRecipe, kind: str, world: World, protocol: Protocol,
    out: str | Path | None, progress: Progress,
) -> Dictionary:  # fmt: skip
    """The dictionary once it has learned, and once what its kind does afterwards is done."""
    with tempfile.TemporaryDirectory() as nowhere:
        folder = Path(out) / "run" if out else Path(nowhere) / "run"
        dictionary = train_dictionary(recipe, folder, progress)
    after = KINDS[kind].after
    if after is not None:
        source = WorldSource(world, max(recipe.tokens, START_ROWS), recipe.compute)
        dictionary = after(dictionary, protocol, source.rows(0, START_ROWS))
    if out:
        files.save(dictionary, Path(out) / "dictionary")
    return dictionary
