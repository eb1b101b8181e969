"""How toys of the laboratory are trained, and what an experiment with them gives back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from monosemy.data.toys import SparseFeatures, ToyStream
from monosemy.foundation.errors import refuse
from monosemy.foundation.progress import SILENT, Progress
from monosemy.models.toy import Toy
from monosemy.reports.laboratory import Picture
from monosemy.superposition.claims import Claim, Finding
from monosemy.tensors.axes import Float, Tensor
from monosemy.tensors.compute import Compute
from monosemy.training.journal import Journal
from monosemy.training.loop import Rhythm, Training, fit
from monosemy.training.optim import OptimConfig, Optimiser
from monosemy.training.toys import LearnToys, held_out

RUNS = Path("runs") / "toys"
"""Where trainings are kept, so that one that was stopped goes on, and one that is done is not done
again."""


@dataclass(frozen=True)
class ToySettings:
    """How long and how fast toys learn; Adam, its rate falling linearly to zero."""

    steps: int = 2000
    """Updates."""
    batch: int = 256
    """Samples of each instance in an update."""
    learning_rate: float = 1e-2
    """At the beginning."""

    def __post_init__(self) -> None:
        least = {"steps": self.steps, "batch": self.batch}
        reasons = [
            f"{name} = {size}; wanted at least 1" for name, size in least.items() if size < 1
        ]
        if not 0 < self.learning_rate < float("inf"):
            reasons.append(f"learning_rate = {self.learning_rate}; wanted more than 0")
        refuse(reasons, "these toys")


@dataclass(frozen=True, eq=False)
class Found:
    """What an experiment found.

    Attributes
    ----------
    name, title : of the experiment.
    numbers : JSON values, every one with its n beside it.
    findings : beside their references.
    pictures : figures with their data.
    words : what follows.
    settings : of the training.
    """

    name: str
    title: str
    numbers: Mapping[str, Any]
    findings: Sequence[Finding]
    pictures: Sequence[Picture]
    words: str
    settings: Mapping[str, Any]

    @property
    def verdict(self) -> str:
        """See `Claim.verdict`."""
        return self.claim().verdict

    def claim(self) -> Claim:
        """The experiment as a claim of its own, for the terminal."""
        return Claim(
            self.name, self.title, "", "", "", self.findings, self.words,
            [f"monosemy lab toy {self.name}"], self.settings,
        )  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """``{experiment, verdict, numbers..., findings, settings}``."""
        return {
            "experiment": self.name, "verdict": self.verdict, **self.numbers,
            "findings": [finding.to_json() for finding in self.findings],
            "settings": dict(self.settings), "words": self.words,
        }  # fmt: skip


def train_toys(
    name: str, toy: Toy, law: SparseFeatures, importance: Float[Tensor, "any feature"],
    settings: ToySettings, compute: Compute, runs: Path = RUNS, progress: Progress = SILENT,
    trace_every: int = 0,
) -> LearnToys:  # fmt: skip
    """Train every instance of `toy` at once, from wherever an earlier call was stopped.

    Parameters
    ----------
    name : of the training; its journal is ``runs/NAME-KEY``, the key a hash of all settings.
    toy : fresh, its weights drawn from `compute`.
    importance : of each feature, for each instance or (1, feature).

    Errors
    ------
    `Interrupted` after Ctrl-C, with the state saved; the same call goes on.
    """
    program = LearnToys(toy, importance, trace_every)
    told = {
        "toy": name, "seed": compute.seed, **asdict(settings), "kind": _kind(toy),
        "shapes": {key: list(value.shape) for key, value in toy.named_parameters()},
        "first": {key: _hash(value) for key, value in toy.state_dict().items()},
        "law": _hash(law.density), "company": law.company, "set_size": law.set_size,
        "signed": law.signed, "importance": _hash(importance), "trace_every": trace_every,
    }  # fmt: skip
    key = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:10]
    # Instances are of no use to each other, so their gradients must not be clipped together.
    optim = OptimConfig(learning_rate=settings.learning_rate, warmup=0.0, decay=1.0, clip=0.0)
    training = Training(
        program,
        Optimiser(toy.parameters(), optim, settings.steps),
        ToyStream(law, settings.batch, compute),
        settings.steps,
        Rhythm(log=100, checkpoint=1000),
    )
    fit(training, Journal(Path(runs) / f"{name}-{key}", told), progress)
    return program


def losses(
    program: LearnToys, law: SparseFeatures, compute: Compute, samples: int = 16_384
) -> Float[Tensor, "instance"]:
    """Each instance's loss on fresh samples, the same random numbers for all."""
    draw = compute.generator("fresh samples for toys")
    return held_out(program, [law.draw(512, draw) for _ in range(max(samples // 512, 1))])


def best_of(
    weights: Float[Tensor, "instance hidden feature"], loss: Float[Tensor, "instance"], fits: int
) -> tuple[Float[Tensor, "case hidden feature"], list[int]]:
    """Of every `fits` neighbours the instance of lowest loss, and their numbers."""
    chosen = loss.view(-1, fits).argmin(1) + fits * torch.arange(len(loss) // fits)
    return weights[chosen], chosen.tolist()


def _kind(toy: Toy) -> str:
    parts = [type(toy).__name__, getattr(toy, "middle", ""), getattr(toy, "output", "")]
    return " ".join(part for part in parts if part)


def _hash(tensor: Tensor) -> str:
    return hashlib.sha256(tensor.double().contiguous().numpy().tobytes()).hexdigest()[:12]
