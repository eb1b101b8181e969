"""What allocation buys: numbers of features, seeds, and controls with as many parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from monosemy.foundation import storage
from monosemy.foundation.progress import SILENT, Progress
from monosemy.growth.arms import ARMS
from monosemy.growth.choosing import candidates, choose, crosstalk, named
from monosemy.recipes.allocation import (
    CONTINUED,
    AllocationConfig,
    Texts,
    arm,
    assign,
    moved_at_once,
    open_texts,
    train_arm,
)
from monosemy.recipes.allocation_ground import Ground
from monosemy.tensors.axes import Int, Tensor
from monosemy.tensors.compute import Compute


def pick(
    ground: Ground, config: AllocationConfig, features: Sequence[int] = ()
) -> Int[Tensor, "feature"]:
    """The features named, or those that `config.by` chooses."""
    code = ground.seen.code
    density = torch.bincount(code.indices, minlength=code.latents) / code.tokens
    if features:
        return named(list(features), density)
    among = candidates(density)
    compute = Compute(seed=config.seed)
    if config.by == "chance":
        return choose(config.count, among, None, compute)
    if config.by == "density":
        return choose(config.count, among, density[among], compute)
    return choose(config.count, among, crosstalk(code, ground.directions, among), compute)


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
        _one(ground, own, texts, None, None, CONTINUED, out / CONTINUED / str(seed), progress)
        for count in study.counts:
            features = pick(ground, replace(config, count=count))
            given = replace(own, count=count)
            folder = out / str(count)
            assignment = assign(ground, features, given, progress)
            facts = {
                "fit": assignment.reading.fit.tolist(),
                "features": features.tolist(),
                "moved_at_once": moved_at_once(ground, assignment, texts),
            }
            storage.write_json(folder / f"reading-{seed}.json", facts)
            for name in ARMS:
                place = folder / name / str(seed)
                _one(ground, given, texts, assignment, features, name, place, progress)


def _one(
    ground: Ground, config: AllocationConfig, texts: Texts, assignment: Any, features: Any,
    name: str, folder: Path, progress: Progress,
) -> None:  # fmt: skip
    if (folder / "curve.json").exists():
        return
    model, moved = arm(name, ground, assignment, features, config)
    size = sum(p.numel() for p in model.parameters())
    curve = train_arm(model, moved, texts, config, folder, {"arm": name}, progress)
    storage.write_json(folder / "curve.json", {"curve": curve, "parameters": size})
