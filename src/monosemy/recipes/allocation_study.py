"""What allocation buys: numbers of features, seeds, and controls with as many parameters."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from monosemy.foundation import storage
from monosemy.foundation.progress import SILENT, Progress
from monosemy.growth.allocate import Allocated
from monosemy.growth.arms import ARMS
from monosemy.recipes.allocation import (
    CONTINUED,
    AllocationConfig,
    Texts,
    arm,
    assign,
    moved_at_once,
    open_texts,
    pick,
    train_arm,
    trainable,
)
from monosemy.recipes.allocation_ground import Chosen, Ground


@dataclass(frozen=True)
class Study:
    """What is compared."""

    counts: tuple[int, ...] = (16, 64, 256)
    """Features that get an axis."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Of everything but the choice of features."""


def run_study(
    ground: Ground, config: AllocationConfig, study: Study, out: Path, progress: Progress = SILENT
) -> None:
    """Train every arm of every count and seed below `out`; what is finished is not made again."""
    for seed in study.seeds:
        own = replace(config, seed=seed)
        texts = open_texts(ground, own, progress)
        folder = out / CONTINUED / str(seed)
        if not _finished(folder):
            _train(trainable(ground.model), None, texts, own, CONTINUED, folder, progress)
        for count in study.counts:
            _count(ground, replace(own, count=count), texts, out / str(count), progress)


def chosen_for(ground: Ground, config: AllocationConfig, count: int) -> Chosen:
    """The features of a count: the same for every seed, so that seeds are of all the rest."""
    return pick(ground, replace(config, count=count, seed=0))


def _count(
    ground: Ground, config: AllocationConfig, texts: Texts, out: Path, progress: Progress
) -> None:
    folders = {name: out / name / str(config.seed) for name in ARMS}
    if all(_finished(folder) for folder in folders.values()):
        return
    chosen = chosen_for(ground, config, config.count)
    assignment = assign(ground, chosen, config, progress)
    facts = {
        "features": list(chosen.names),
        "fit": assignment.reading.fit.tolist(),
        "moved_at_once": moved_at_once(ground, assignment, texts),
    }
    storage.write_json(out / f"reading-{config.seed}.json", facts)
    for name, folder in folders.items():
        if not _finished(folder):
            model, moved = arm(name, ground, chosen, assignment, config)
            _train(model, moved, texts, config, name, folder, progress)


def _finished(folder: Path) -> bool:
    return (folder / "curve.json").exists()


def _train(
    model: Any, moved: Allocated | None, texts: Texts, config: AllocationConfig, name: str,
    folder: Path, progress: Progress,
) -> None:  # fmt: skip
    curve = train_arm(model, moved, texts, config, folder, {"arm": name}, progress)
    size = sum(p.numel() for p in model.parameters())
    storage.write_json(folder / "curve.json", {"curve": curve, "parameters": size})
