"""The road of ``monosemy allocate``: choose, read, widen, move, train, measure, write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from monosemy.explanation.archive_notes import Notes
from monosemy.foundation import storage
from monosemy.foundation.errors import UserError, refuse
from monosemy.foundation.progress import SILENT, Progress
from monosemy.growth.allocate import Allocated, Assignment, allocate
from monosemy.growth.arms import ARMS
from monosemy.growth.double import in_double
from monosemy.growth.proof import EXACT, differ_on, worst
from monosemy.recipes.allocation import (
    CONTINUED,
    AllocationConfig,
    arm,
    assign,
    moved_at_once,
    open_texts,
    pick,
    train_arm,
    trainable,
)
from monosemy.recipes.allocation_burden import measure_burden, standing
from monosemy.recipes.allocation_ground import Chosen, Ground, open_ground, read_stream
from monosemy.recipes.allocation_relation import (
    Relation,
    offset_on_axis,
    open_relation,
    relation_chosen,
)
from monosemy.recipes.model_folder import proof_contexts, whole_folder, write_model
from monosemy.training.journal import provenance


@dataclass(frozen=True)
class Wanted:
    """What is to get an axis; where nothing is said, what the rule of the configuration chooses."""

    features: tuple[int, ...] = ()
    """Latents by number."""
    relation: Path | None = None
    """A file of word pairs."""
    label: str | None = None
    """Words that a feature's label has."""
    archive: Path | None = None
    """The archive whose labels are meant."""
    controls: bool = False
    """Train every control beside it, and the model as it is."""

    def problems(self) -> list[str]:
        """Why nothing can be chosen so."""
        said = {"--features": self.features, "--relation": self.relation, "--label": self.label}
        given = [name for name, value in said.items() if value]
        reasons = [f"{' and '.join(given)}: one of them says what gets an axis"] * (len(given) > 1)
        if self.label and not self.archive:
            reasons.append("--label needs the labels of an archive: name its folder with --archive")
        if self.archive and not self.label:
            reasons.append("--archive without --label: say which words its labels should have")
        return reasons


def allocate_features(
    run: str | Path, config: AllocationConfig, wanted: Wanted, out: Path,
    changes: dict[str, str] | None = None, progress: Progress = SILENT,
) -> dict[str, Any]:  # fmt: skip
    """Give features of the dictionary at `run` axes of their own, in a larger model below `out`.

    ``out/model`` is a plain model folder; ``out/allocation.json`` what this returns. Stopped, the same
    command goes on from the last checkpoint.

    Errors
    ------
    `UserError` with every reason at once before anything is written.
    """
    refuse(config.problems() + wanted.problems(), "this allocation")
    labelled = _labelled(wanted)
    ground = open_ground(run, config.tokens, config.heldout, changes, progress)
    relation = open_relation(wanted.relation, ground) if wanted.relation else None
    chosen = (
        relation_chosen(relation, ground)
        if relation
        else pick(ground, config, wanted.features or labelled)
    )
    assignment = assign(ground, chosen, config, progress)
    proof = _proof(ground, assignment, config, progress)
    texts = open_texts(ground, config, progress)
    found: dict[str, Any] = {
        "model": ground.recipe.model,
        "site": ground.recipe.site,
        "features": list(chosen.names),
        "fit": assignment.reading.fit.tolist(),
        "proof": proof,
        "moved_at_once": moved_at_once(ground, assignment, texts),
        "before": measure_burden(ground, chosen, trainable(ground.model), None, config.seed),
        "arms": {},
    }
    names = (*ARMS, CONTINUED) if wanted.controls else ("allocated",)
    for name in names:
        if name == CONTINUED:
            model, moved = trainable(ground.model), None
        else:
            model, moved = arm(name, ground, chosen, assignment, config)
        folder = out / "training" / name
        about = {"arm": name, "features": list(chosen.names), "run": str(run)}
        curve = train_arm(model, moved, texts, config, folder, about, progress)
        at = moved if name == "allocated" else None
        found["arms"][name] = {
            "parameters": sum(p.numel() for p in model.parameters()),
            "curve": curve,
            "burden": measure_burden(ground, chosen, model, at, config.seed),
        }
        if name == "allocated":
            assert moved is not None
            found["axes"], found["neurons"] = moved.axes.tolist(), moved.neurons.tolist()
            found["layer"] = ground.crowd.layer
            if relation:
                found["relation"] = _relation(relation, ground, chosen, model, moved)
            _write(ground, model, out)
    found |= {"config": asdict(config), "out": str(out), **provenance()}
    storage.write_json(out / "allocation.json", found)
    return found


def _labelled(wanted: Wanted) -> tuple[int, ...]:
    """Features whose label has the words.

    Errors
    ------
    `UserError` where there are none.
    """
    if not wanted.label or not wanted.archive:
        return ()
    path = wanted.archive / "notes.sqlite"
    if not path.exists():
        raise UserError(f"{wanted.archive} has no labels yet (no notes.sqlite)")
    with Notes(path, writable=False) as notes:
        found = sorted({feature for feature, _, _ in notes.search(wanted.label)})
    if not found:
        raise UserError(f"no label in {wanted.archive} has the words {wanted.label!r}")
    return tuple(found)


def _proof(
    ground: Ground, assignment: Assignment, config: AllocationConfig, progress: Progress
) -> dict[str, Any]:
    """Logits before, and at share 0, in double precision.

    Errors
    ------
    `UserError` where they differ by more than rounding.
    """
    contexts = proof_contexts(
        ground.setting.loaded, ground.recipe.text, 1024, config.seed, progress
    )
    before = in_double(ground.model)
    moved = differ_on(before, allocate(before, assignment).model, contexts)
    most = worst(moved)
    if not most.relative <= EXACT:
        raise UserError(
            f"widening {ground.recipe.model} moved a logit by {most.absolute:.2g} where the largest is "
            f"{most.largest:.3g}; wanted at most {EXACT:g} of it. Nothing was written: this model "
            "computes something that its family's table does not say"
        )
    return {
        "max_abs_logit_difference_float64": max(d.absolute for d in moved.values()),
        "relative_float64": most.relative,
        "predictions": sum(d.predictions for d in moved.values()),
    }


def _write(ground: Ground, model: Any, out: Path) -> None:
    if (out / "model").exists():
        return
    with whole_folder(out / "model") as folder:
        write_model(model, ground.setting.loaded, "float32", folder)


def _relation(
    relation: Relation, ground: Ground, chosen: Chosen, model: Any, moved: Allocated
) -> dict[str, Any]:
    """The offset on the direction that it had, and on its own axis."""
    found = {}
    for name, one, at in (("before", trainable(ground.model), None), ("after", model, moved)):
        u = standing(ground, chosen, one, at)[0]
        stream = read_stream(ground, one, ground.heldout.contexts).double()
        found[name] = offset_on_axis(relation, ground, stream @ u / u.square().sum())
    return found


def feature_ids(text: str) -> tuple[int, ...]:
    """``3,17,250`` as numbers.

    Errors
    ------
    `UserError` naming what is no number.
    """
    parts: Sequence[str] = [part.strip() for part in text.split(",") if part.strip()]
    wrong = [part for part in parts if not part.lstrip("-").isdigit()]
    refuse([f"{part!r} is no feature's number" for part in wrong], "--features")
    return tuple(int(part) for part in parts)
