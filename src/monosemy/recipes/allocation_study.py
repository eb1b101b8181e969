"""What allocation buys: numbers of features, seeds, and controls with as many parameters."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from monosemy.foundation import storage
from monosemy.foundation.errors import refuse
from monosemy.foundation.progress import SILENT, Progress, Task
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
from monosemy.recipes.allocation_burden import measure_burden
from monosemy.recipes.allocation_ground import Chosen, Ground, open_ground
from monosemy.training.journal import Journal, provenance


@dataclass(frozen=True)
class Study:
    """What is compared."""

    counts: tuple[int, ...] = (16, 64, 256)
    """Features that get an axis."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Of everything but the choice of features."""

    def problems(self) -> list[str]:
        """Why nothing can be compared so."""
        reasons = [f"count {count}; wanted at least 1" for count in self.counts if count < 1]
        if not self.counts:
            reasons.append("no counts; wanted numbers of features such as 16,64,256")
        if not self.seeds:
            reasons.append("no seeds; wanted at least 1")
        return reasons


def study_allocation(
    run: str | Path, config: AllocationConfig, study: Study, out: Path,
    changes: dict[str, str] | None = None, progress: Progress = SILENT,
) -> dict[str, Any]:  # fmt: skip
    """Train everything below `out`, measure the burden of every arm, write ``out/study.json``.

    Stopped, it goes on where it was.

    Errors
    ------
    `UserError` with every reason at once before anything is trained.
    """
    refuse(config.problems() + study.problems(), "this study")
    ground = open_ground(run, config.tokens, config.heldout, changes, progress)
    run_study(ground, config, study, out, progress)
    found: dict[str, Any] = {
        "model": ground.recipe.model,
        "site": ground.recipe.site,
        "text": ground.recipe.text,
        "counts": list(study.counts),
        "seeds": list(study.seeds),
        "config": asdict(config),
        "continued": [_read(out / CONTINUED / str(seed)) for seed in study.seeds],
        "results": {},
        **provenance(),
    }
    many = len(study.counts) * len(study.seeds) * (len(ARMS) + 1)
    with progress.task("measure burden", many, "models") as task:
        for count in study.counts:
            found["results"][str(count)] = _measured(ground, config, study, out, count, task)
    storage.write_json(out / "study.json", found)
    return found


def _measured(
    ground: Ground, config: AllocationConfig, study: Study, out: Path, count: int, task: Task
) -> dict[str, Any]:
    """Curves and burdens of one number of features, seed by seed; burdens are kept beside curves."""
    chosen = chosen_for(ground, config, count)
    folder = out / str(count)
    arms: dict[str, list[dict[str, Any]]] = {name: [] for name in ("before", *ARMS)}
    for seed in study.seeds:
        kept = {"before": folder / f"before-{seed}.json"}
        kept |= {name: folder / name / str(seed) / "burden.json" for name in ARMS}
        missing = [name for name, path in kept.items() if not path.exists()]
        own = replace(config, count=count, seed=seed)
        assignment = assign(ground, chosen, own) if set(missing) & set(ARMS) else None
        for name in missing:
            if name == "before" or assignment is None:
                model, moved = trainable(ground.model), None
            else:
                model, moved = arm(name, ground, chosen, assignment, own)
                _load_trained(model, folder / name / str(seed))
            at = moved if name == "allocated" else None
            storage.write_json(kept[name], measure_burden(ground, chosen, model, at, seed))
        for name, ones in arms.items():
            found = {"burden": storage.read_json(kept[name], "a burden")}
            ones.append(found if name == "before" else _read(folder / name / str(seed)) | found)
            task.advance()
    readings = [
        storage.read_json(folder / f"reading-{seed}.json", "the readings") for seed in study.seeds
    ]
    return {"arms": arms, "readings": readings}


def _load_trained(model: Any, folder: Path) -> None:
    """Weights of the last update."""
    about = storage.read_json(folder / "run.json", "the run's description")["configuration"]
    state = Journal(folder, about).load()
    assert state is not None, "a curve is written after the last checkpoint"
    model.load_state_dict(state["program"]["module"])
    model.eval()


def _read(folder: Path) -> dict[str, Any]:
    return storage.read_json(folder / "curve.json", "a curve")


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
