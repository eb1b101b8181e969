"""From a model to a larger one that computes the same: check, expand step by step, prove, write."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from monosemy.foundation import storage
from monosemy.foundation.errors import UserError, nearest, refuse
from monosemy.foundation.progress import SILENT, Progress
from monosemy.growth.double import in_double
from monosemy.growth.expand import expand, problems, steps
from monosemy.growth.families import family_of
from monosemy.growth.plan import Plan, plan
from monosemy.growth.proof import EXACT, Difference, differ_on, worst
from monosemy.growth.shapes import Growth, grown, shape_of, written
from monosemy.models.loading import load, without_notices
from monosemy.recipes.model_folder import (
    proof_contexts,
    refuse_altered,
    taken,
    whole_folder,
    write_model,
)
from monosemy.tensors.axes import Tensor
from monosemy.tensors.compute import DTYPES, Compute


@dataclass(frozen=True)
class GrowConfig:
    """How a model grows."""

    growth: Growth = field(default_factory=Growth)
    """By how much each size grows."""
    init: float = 1.0
    """Deviation of free entries, as a multiple of the old ones' of the same matrix."""
    seed: int = 0
    """Root of the free entries, and of the random tokens of the proof."""
    text: str = "stdlib"
    """Real text of the proof (its held-out part)."""
    tokens: int = 1024
    """Predictions compared, of real text and of random tokens each."""
    dtype: str = "float32"
    """Precision of the weights that are written."""

    def problems(self) -> list[str]:
        """Why nothing can grow so, whatever the model."""
        reasons = []
        if not 0 < self.init < math.inf:
            reasons.append(f"init = {self.init:g}; wanted a positive number: entries that are 0 "
                           "on both sides of a new axis could never learn")  # fmt: skip
        if self.tokens < 2:
            reasons.append(f"tokens = {self.tokens}; wanted at least 2")
        if self.dtype not in DTYPES:
            hint = nearest(self.dtype, DTYPES)
            reasons.append(f"dtype = {self.dtype!r}; known: {', '.join(DTYPES)}{hint}")
        return reasons


@dataclass(frozen=True, eq=False)
class Step:
    """One expansion, and how far logits moved: against the model before it, and the first one."""

    plan: Plan
    parameters: int
    moved: dict[str, Difference]
    since_start: dict[str, Difference]

    def to_json(self) -> dict[str, Any]:
        """`Plan.to_json`, with ``parameters`` and the differences."""
        return {
            **self.plan.to_json(),
            "parameters": self.parameters,
            "max_abs_logit_difference_float64": {k: d.absolute for k, d in self.moved.items()},
            "since_start": {k: d.absolute for k, d in self.since_start.items()},
        }


@dataclass(frozen=True, eq=False)
class Grown:
    """What `grow_model` did.

    Attributes
    ----------
    plan : all expansions in one: where what is new lies in the end.
    as_written : differences between the model as it came and as it was written, both opened from
        their files in float32; `None` where nothing was written.
    """

    name: str
    config: GrowConfig
    plan: Plan
    parameters: tuple[int, int]
    steps: list[Step]
    as_written: dict[str, Difference] | None
    out: Path | None

    def to_json(self) -> dict[str, Any]:
        """``{expansions, max_abs_logit_difference_float64, ...}``."""
        found = self.steps[-1].since_start if self.steps else {}
        most = max((d.absolute for d in found.values()), default=None)
        return {
            "model": self.name,
            "before": vars(self.plan.before),
            "after": vars(self.plan.after),
            "parameters": {"before": self.parameters[0], "after": self.parameters[1]},
            "init": self.config.init,
            "seed": self.config.seed,
            "new": self.plan.to_json()["new"],
            "expansions": [step.to_json() for step in self.steps],
            "max_abs_logit_difference_float64": most,
            "relative_float64": worst(found).relative if found else None,
            "largest_logit": max((d.largest for d in found.values()), default=None),
            "predictions": {k: d.predictions for k, d in found.items()},
            "as_written": self._written(),
            "out": str(self.out) if self.out else None,
        }  # fmt: skip

    def _written(self) -> dict[str, Any] | None:
        if self.as_written is None:
            return None
        return {"dtype": self.config.dtype, "read_as": "float32",
                "max_abs_logit_difference": max(d.absolute for d in self.as_written.values()),
                "relative": worst(self.as_written).relative}  # fmt: skip


def growth_of(given: Mapping[str, int | None]) -> Growth:
    """The growth that options ask for; `None` is an option that was not given.

    Errors
    ------
    `UserError` with every option that is not positive, and where none was given.
    """
    asked = {name: by for name, by in given.items() if by is not None}
    reasons = [f"--{name} {by}: a model only grows here; wanted a positive number"
               for name, by in asked.items() if by <= 0]  # fmt: skip
    refuse(reasons, "this growth")
    growth = Growth(**asked)
    refuse(growth.problems(), "this growth")
    return growth


def grow_model(
    name: str | Path, config: GrowConfig, out: Path | None, progress: Progress = SILENT
) -> Grown:
    """Grow the model called `name`, prove that it computes the same, write a plain model folder.

    Expansions are done one after another where the family can say each (see `expand.steps`), in double
    precision, and compared after each. The folder appears whole or not at all, and only if the logits
    agree to rounding.

    Parameters
    ----------
    name : as for `models.loading.load`.
    out : a folder that does not exist yet; `None` only says what would be done.

    Errors
    ------
    `UserError` with every reason at once, before anything is grown or written; and where the proof
    fails.
    """
    refuse(config.problems() + taken(out) + _quantised(name), "this growth")
    loaded = load(name, progress=progress)
    model = loaded.model
    refuse(problems(model, config.growth), f"growing {name} by {config.growth}")
    planned, sizes = _sizes(model, config.growth)
    if out is None:
        return Grown(str(name), config, planned, sizes, [], None, None)
    contexts = proof_contexts(loaded, config.text, config.tokens, config.seed, progress)
    larger, done = _expanded(model, config, contexts, progress)
    _refuse_inexact(str(name), done)
    with whole_folder(out) as folder, progress.task("write and open again", 2, "steps") as task:
        final = write_model(larger, loaded, config.dtype, folder)
        task.advance()
        again = load(folder).model
        refuse_altered(final, again, out)
        as_written = differ_on(model, again, contexts)
        task.advance()
        found = Grown(str(name), config, planned, sizes, done, as_written, out)
        storage.write_json(folder / "growth.json", found.to_json())
    return found


def _expanded(
    model: Any, config: GrowConfig, contexts: Mapping[str, Tensor], progress: Progress
) -> tuple[Any, list[Step]]:
    """The larger model in double precision, and its steps."""
    parts = steps(model, config.growth)
    compute = Compute(seed=config.seed)
    first = latest = in_double(model)
    done: list[Step] = []
    with progress.task("expand and compare", len(parts), "steps") as task:
        for part in parts:
            larger = expand(latest, part, compute, config.init)
            moved = differ_on(latest, larger.model, contexts)
            since = differ_on(first, larger.model, contexts) if done else moved
            latest = larger.model
            done.append(Step(larger.plan, latest.num_parameters(), moved, since))
            task.advance(1, str(part))
    return latest, done


def _refuse_inexact(name: str, done: list[Step]) -> None:
    for step in done:
        for found in (worst(step.moved), worst(step.since_start)):
            if not found.relative <= EXACT:
                raise UserError(
                    f"growing {name} by {step.plan.growth} moved a logit by {found.absolute:.2g} where "
                    f"the largest is {found.largest:.3g}; wanted at most {EXACT:g} of it. Nothing was "
                    "written: this model computes something that its family's table does not say"
                )


def _sizes(model: Any, growth: Growth) -> tuple[Plan, tuple[int, int]]:
    """The plan of the whole, and parameters, without the memory of a larger model."""
    family = family_of(model.config)
    if family is None:
        raise UserError(f"models of type {model.config.model_type!r} are not known here")
    before = shape_of(model.config, family)
    after, _ = grown(before, growth, family)
    config, _ = written(model.config, family, before, after)
    with without_notices(), torch.device("meta"):
        empty = type(model)(config)
    empty.tie_weights()
    planned = plan(growth, before, after, family)
    return planned, (model.num_parameters(), empty.num_parameters())


def _quantised(name: str | Path) -> list[str]:
    """Said before the model is opened, which may need packages that are not there."""
    path = Path(name).expanduser() / "config.json"
    if not path.is_file():
        return []
    config = storage.read_json(path, "the model's configuration")
    if not isinstance(config, dict) or not config.get("quantization_config"):
        return []
    return [f"the weights of {name} are quantised, and rows and columns that are added would need "
            "scales of their own; grow the model that was quantised"]  # fmt: skip
