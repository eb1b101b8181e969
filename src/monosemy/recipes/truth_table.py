"""Kinds of dictionaries on one world, over seeds: cells that are kept one by one, and their means."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from monosemy.foundation import storage
from monosemy.foundation.errors import refuse
from monosemy.foundation.progress import SILENT, Progress, Task
from monosemy.recipes.truth import HEADLINES, cell_reasons, plain, recipe_of, run_cell
from monosemy.recipes.truth_arms import ARMS
from monosemy.recipes.truth_kinds import KINDS
from monosemy.recipes.truth_pool import run_in_pool
from monosemy.recipes.truth_protocol import protocol_for, world_seed
from monosemy.recipes.truth_shares import Shares

SUMMED = (*HEADLINES, "assigned_f1", "precision", "recall", "absorption", "parent_miss_rate",
          "hedging", "dead_fraction")  # fmt: skip
"""What is averaged over seeds."""


@dataclass(frozen=True, eq=False)
class Cell:
    """One cell of a table: what to run, and where it is kept."""

    world: str
    kind: str
    seed: int
    folder: Path
    changes: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    device: str = "cpu"

    @property
    def name(self) -> str:
        """For a person."""
        return f"{self.kind}, seed {self.seed}"

    @property
    def file(self) -> Path:
        """Its result."""
        return self.folder / "cell.json"

    def run(self, progress: Progress = SILENT) -> dict[str, Any]:
        """Make it, from wherever it was stopped, and keep the result."""
        settings = {} if self.kind in ARMS else self.settings
        found = run_cell(
            self.world, self.kind, self.seed, self.changes, settings, self.folder,
            self.device, progress,
        )  # fmt: skip
        storage.write_json(self.file, found)
        return found


def run_table(
    world: str,
    kinds: Sequence[str] = (),
    seeds: int = 5,
    changes: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    out: str | Path = "truth",
    jobs: int = 1,
    device: str = "cpu",
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Every kind with the seeds 0, 1, ..., and means over seeds with 95 % intervals.

    Cells with one seed share their world and their samples, so kinds are compared in pairs. Every
    cell is kept under ``out/KIND/seed-N`` as soon as it is made; called again, what is there is
    read, and what was stopped goes on from its last checkpoint.

    Parameters
    ----------
    kinds : names; all that are known, and the arms, where none is given.
    seeds : how many.
    changes, settings : see `truth.run_cell`; settings concern the kinds that learn.
    out : folder; ``table.json`` there holds what is returned.
    jobs : cells that are made side by side, in processes of their own.

    Returns
    -------
    ``{world, protocol, seeds, kinds, summary, differences, cells}``; see `summarise`, `differences`.

    Errors
    ------
    `UserError` for what `run_cell` refuses, and where the folder holds cells of other conditions.
    `Interrupted` after a stop, with everything saved.
    """
    kinds = tuple(kinds) or (*KINDS, *ARMS)
    refuse(_reasons(kinds, seeds, jobs, settings), f"this table of {world}")
    cells = [
        Cell(
            world,
            kind,
            seed,
            Path(out) / kind / f"seed-{seed}",
            changes or {},
            settings or {},
            device,
        )  # fmt: skip
        for seed in range(seeds)
        for kind in kinds
    ]
    found = {cell: kept for cell in cells if (kept := _kept(cell)) is not None}
    missing = [cell for cell in cells if cell not in found]
    with progress.task(world, len(cells), "cells") as task:
        task.advance(len(found))
        told = _Told(task)
        made = run_in_pool(missing, jobs, told) if jobs > 1 else _one_by_one(missing, told)
        for cell, result in made:
            found[cell] = result
            told.finish(cell.name)
    report = _report(world, kinds, seeds, changes, [found[cell] for cell in cells])
    storage.write_json(Path(out) / "table.json", report)
    return report


def _one_by_one(cells: Sequence[Cell], task: Task) -> Iterator[tuple[Cell, dict[str, Any]]]:
    for cell in cells:
        yield cell, cell.run(Shares(partial(_tell, task, cell.name)))


class _Told:
    """A task in cells that knows how much of each was told, so that a finished one counts whole."""

    def __init__(self, task: Task):
        self._task, self._told = task, dict[str, float]()

    def advance(self, amount: float = 1, note: str = "") -> None:
        """`note` is the cell's name."""
        self._told[note] = self._told.get(note, 0.0) + amount
        self._task.advance(amount, note)

    def finish(self, name: str) -> None:
        """The cell is done."""
        self._task.advance(1 - self._told.get(name, 0.0), name)


def _tell(task: Task, name: str, share: float) -> None:
    task.advance(share, name)


# --- what is kept --------------------------------------------------------------------------------


def _kept(cell: Cell) -> dict[str, Any] | None:
    """The result that is there already; refused where it was made under other conditions."""
    if not cell.file.exists():
        return None
    kept = storage.read_json(cell.file, "the cell's result")
    protocol = protocol_for(cell.world, cell.changes)
    recipe = None
    if cell.kind in KINDS:
        made = recipe_of(cell.world, cell.kind, cell.seed, protocol, cell.settings, cell.device)
        recipe = plain(asdict(replace(made, memory=None)))
    wanted = {"world": cell.world, "dictionary": cell.kind, "protocol": plain(asdict(protocol)),
              "recipe": recipe}  # fmt: skip
    refuse(
        [
            f"{cell.file} holds {kept.get('dictionary')} made with another {name}"
            f"{_first_difference(kept.get(name), value)}; name another folder, or remove it"
            for name, value in wanted.items()
            if kept.get(name) != value
        ],
        f"the cell in {cell.folder}",
    )
    return kept


def _first_difference(before: Any, now: Any) -> str:
    if not isinstance(before, Mapping) or not isinstance(now, Mapping):
        return f" ({before!r}, not {now!r})"
    keys = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    return f" ({keys[0]} = {before.get(keys[0])!r}, not {now.get(keys[0])!r})" if keys else ""


# --- what is made of cells -----------------------------------------------------------------------


def _report(
    world: str, kinds: Sequence[str], seeds: int, changes: Mapping[str, Any] | None,
    cells: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:  # fmt: skip
    protocol = protocol_for(world, changes)
    return {
        "world": world,
        "protocol": plain(asdict(protocol)),
        "seeds": list(range(seeds)),
        "world_seeds": [world_seed(protocol, seed) for seed in range(seeds)],
        "kinds": list(kinds),
        "summary": summarise(cells),
        "differences": differences(cells, kinds[0]),
        "cells": list(cells),
    }


def summarise(cells: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Kind to metric to ``{value, low, high, seeds}``: means over seeds, see `interval`."""
    return {
        kind: {name: interval(list(by_seed.values())) for name, by_seed in values.items()}
        | {"parameters": interval([c["parameters"] for c in cells if c["dictionary"] == kind])}
        for kind, values in _by_kind(cells).items()
    }


def differences(cells: Sequence[Mapping[str, Any]], against: str) -> dict[str, Any]:
    """What each kind has more than the kind `against`: means of paired differences over seeds.

    ``{against, kinds: {kind: {metric: {value, low, high, seeds}}}}``.
    """
    values = _by_kind(cells)
    base = values[against]
    return {
        "against": against,
        "kinds": {
            kind: {
                name: interval([by_seed[s] - base[name][s] for s in by_seed if s in base[name]])
                for name, by_seed in metrics.items()
            }
            for kind, metrics in values.items()
            if kind != against
        },
    }


def interval(values: Sequence[float]) -> dict[str, Any]:
    """Mean, and Student's 95 % interval over seeds: ``mean ± t s / sqrt(n)``.

    It takes the seeds' numbers as normal. One seed has no interval, none has no mean.
    """
    count = len(values)
    if not count:
        return {"value": None, "low": None, "high": None, "seeds": 0}
    mean = sum(values) / count
    if count < 2:
        return {"value": mean, "low": None, "high": None, "seeds": count}
    from scipy.stats import t  # a second, for those who compare

    spread = math.sqrt(sum((value - mean) ** 2 for value in values) / (count - 1))
    half = float(t.ppf(0.975, count - 1)) * spread / math.sqrt(count)
    return {"value": mean, "low": mean - half, "high": mean + half, "seeds": count}


def _by_kind(cells: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, dict[int, float]]]:
    """Kind to metric to seed to number, where there is one."""
    found: dict[str, dict[str, dict[int, float]]] = {}
    for cell in cells:
        metrics = found.setdefault(cell["dictionary"], {name: {} for name in SUMMED})
        for name in SUMMED:
            value = cell["metrics"].get(name, {}).get("value")
            if value is not None:
                metrics[name][cell["seed"]] = value
    return found


def _reasons(
    kinds: Sequence[str], seeds: int, jobs: int, settings: Mapping[str, Any] | None
) -> list[str]:
    reasons = [
        f"{name} = {value}; wanted at least 1"
        for name, value in {"seeds": seeds, "jobs": jobs}.items()
        if value < 1
    ]
    if len(set(kinds)) < len(kinds):
        reasons.append(f"a dictionary is named twice: {', '.join(kinds)}")
    for kind in dict.fromkeys(kinds):
        reasons += cell_reasons(kind, 0, None if kind in ARMS else settings)
    return list(dict.fromkeys(reasons))
