"""From a dictionary to a model in which chosen features have axes of their own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from monosemy.data.streams import TokenStream
from monosemy.data.text import open_corpus
from monosemy.data.tokens import Contexts, Packing, pack
from monosemy.foundation.errors import nearest
from monosemy.foundation.progress import SILENT, Progress
from monosemy.growth.allocate import Allocated, Assignment, allocate, growth_for, widened
from monosemy.growth.arms import random_assignment, variance_assignment
from monosemy.growth.burden import decodability
from monosemy.growth.choosing import candidates, choose, crosstalk, named, unknown_rule
from monosemy.growth.double import build
from monosemy.growth.reading import fit_reading
from monosemy.recipes.allocation_ground import Chosen, Ground, columns, read_stream
from monosemy.recipes.specimen import cross_entropy
from monosemy.tensors.axes import Float, Int, Tensor
from monosemy.tensors.compute import DTYPES, Compute
from monosemy.training.journal import Journal
from monosemy.training.loop import Rhythm, Training, fit
from monosemy.training.moving import LearnWhileMoving
from monosemy.training.optim import OptimConfig, Optimiser

# One token in so many says how a thousand candidates are read.
_SKIP = 4
CONTINUED = "continued"
"""The model trained on as it is: fewer parameters than every arm."""


@dataclass(frozen=True)
class AllocationConfig:
    """How features get axes of their own."""

    count: int = 16
    """Features, where none are named."""
    by: str = "density"
    """What they are chosen by: density, interference, burden or chance."""
    own: int = 1
    """New neurons of the MLP for each feature."""
    axes: bool = True
    """Whether each also gets an axis of the stream; else only neurons of its own."""
    crowd: bool = False
    """Whether the neurons that are there help to read it."""
    tokens: int = 100_000
    """Training tokens that readings are learned on, and features chosen by."""
    heldout: int = 40_000
    """Held-out tokens that burden is measured on."""
    loss_tokens: int = 20_000
    """Held-out tokens that the loss is measured on while training."""
    steps: int = 100
    """Updates of the whole model."""
    moving: int = 20
    """The first of them, during which the features move."""
    batch: int = 16
    """Contexts in an update."""
    learning_rate: float = 5e-4
    """Of the updates; it climbs over a tenth of them and falls over the rest."""
    autocast: str = "bfloat16"
    """Precision of the matrix products while training; weights are float32."""
    seed: int = 0
    """Root of every random draw."""

    def problems(self) -> list[str]:
        """Why nothing can be allocated so, whatever the model."""
        least = {"count": 1, "own": 1, "steps": 0, "moving": 1, "batch": 1}
        reasons = [f"{name} = {getattr(self, name)}; wanted at least {lowest}"
                   for name, lowest in least.items() if getattr(self, name) < lowest]  # fmt: skip
        if self.steps and self.moving > self.steps:
            reasons.append(
                f"moving = {self.moving} of {self.steps} steps; wanted at most all of them"
            )
        if not 0 < self.learning_rate < math.inf:
            reasons.append(f"learning_rate = {self.learning_rate}; wanted a positive number")
        reasons += unknown_rule(self.by)
        if self.autocast not in DTYPES:
            hint = nearest(self.autocast, DTYPES)
            reasons.append(f"autocast = {self.autocast!r}; known: {', '.join(DTYPES)}{hint}")
        return reasons


@dataclass(frozen=True, eq=False)
class Texts:
    """Whole contexts for training, and held-out ones for the loss."""

    train: Contexts
    heldout: Contexts


def open_texts(ground: Ground, config: AllocationConfig, progress: Progress = SILENT) -> Texts:
    """As much training text as the updates read, at most once round; held-out text for the loss."""
    loaded, setting = ground.setting.loaded, ground.setting
    length = min(256, loaded.context)
    compute = Compute(seed=config.seed)
    wanted = max(config.steps * config.batch, 1) * length
    packing = Packing(context=length, tokens=wanted, drop_bos=False)
    train = pack(setting.corpus, loaded.tokenizer, packing, compute, progress)
    unseen = open_corpus(ground.recipe.text, "heldout")
    held = replace(packing, tokens=config.loss_tokens)
    return Texts(train, pack(unseen, loaded.tokenizer, held, compute, progress))


def pick(ground: Ground, config: AllocationConfig, features: Sequence[int] = ()) -> Chosen:
    """The latents named, or those that `config.by` chooses."""
    density = ground.density
    if features:
        return ground.latents(named(list(features), density))
    among = candidates(density)
    compute = Compute(seed=config.seed)
    score = {
        "chance": lambda: None,
        "density": lambda: density[among],
        "interference": lambda: crosstalk(
            ground.seen.code, ground.dictionary.W_dec.detach(), among
        ),
        "burden": lambda: -_from_one_axis(ground, among),
    }[config.by]()
    return ground.latents(choose(config.count, among, score, compute))


def _from_one_axis(ground: Ground, among: Int[Tensor, "candidate"]) -> Float[Tensor, "candidate"]:
    """R² of each feature from the one axis of the stream that reads it best."""
    stream = read_stream(ground, ground.model, ground.seen.contexts)[::_SKIP]
    values = columns(ground.seen.code, among)[::_SKIP]
    found = decodability(stream, values, ground.seen.document[::_SKIP], ks=(1,))
    return found.axes[0].float()


def assign(
    ground: Ground, chosen: Chosen, config: AllocationConfig, progress: Progress = SILENT
) -> Assignment:
    """Learn to read what was chosen; nothing of the model changes."""
    compute = Compute(seed=config.seed)
    rows = ground.rows(chosen)
    reading = fit_reading(rows, ground.kind, config.own, config.crowd, compute, progress=progress)
    directions = ground.crowd.directions(ground.model, chosen.directions)
    return Assignment(ground.crowd, directions, reading, config.axes)


def arm(
    name: str, ground: Ground, chosen: Chosen, assignment: Assignment, config: AllocationConfig
) -> tuple[Any, Allocated | None]:
    """The model of one arm, before any update, in float32, and what moves in it.

    ``allocated``, and its controls of equal size (`growth.arms`).
    """
    compute = Compute(seed=config.seed)
    model = ground.model
    rows = ground.rows(chosen)
    growth = growth_for(ground.crowd.shape, ground.crowd, len(assignment), config.own, config.axes)
    if name == "widened":
        return trainable(widened(model, growth, compute)[0]), None
    given = {
        "allocated": lambda: assignment,
        "random": lambda: random_assignment(assignment, rows, ground.kind, compute),
        "variance": lambda: variance_assignment(assignment, model, rows, compute),
    }[name]()
    done = allocate(model, given, growth, compute)
    done.model = trainable(done.model)
    return done.model, done


def trainable(model: Any) -> Any:
    """A copy of `model` in float32 whose parameters learn."""
    attention = model.config._attn_implementation
    made = build(type(model), model.config, model.state_dict(), torch.float32, attention)
    made.generation_config = model.generation_config
    return made.requires_grad_(True)


def train_arm(
    model: Any, moved: Allocated | None, texts: Texts, config: AllocationConfig,
    folder: Path, about: dict[str, Any], progress: Progress = SILENT,
) -> list[dict[str, float]]:  # fmt: skip
    """Move and train; the held-out loss against training tokens, from before the first update.

    Goes on from the last checkpoint in `folder` where it was stopped.
    """
    compute = Compute(seed=config.seed)
    journal = Journal(folder, {**asdict(config), **about})
    before = cross_entropy(model.eval(), texts.heldout)
    optim = OptimConfig(
        learning_rate=config.learning_rate, warmup=0.1, decay=0.9, betas=(0.9, 0.98), weight_decay=0.1
    )  # fmt: skip
    program = LearnWhileMoving(model, moved, config.moving, DTYPES[config.autocast])
    size = config.batch * texts.train.length
    every = max(config.steps // 20, 1)
    training = Training(
        program,
        Optimiser(model.parameters(), optim, config.steps),
        TokenStream(texts.train, config.batch, compute),
        config.steps,
        Rhythm(log=every, checkpoint=max(config.steps // 2, 1), observe=every),
        observer=lambda: {"heldout": cross_entropy(model, texts.heldout)},
        tokens_per_step=size,
    )
    if config.steps:
        fit(training, journal, progress)
    curve = [{"tokens": 0.0, "heldout": before}]
    curve += [{"tokens": line["step"] * size, "heldout": line["heldout"]}
              for line in journal.metrics() if "heldout" in line]  # fmt: skip
    return curve


def moved_at_once(ground: Ground, assignment: Assignment, texts: Texts) -> float:
    """Held-out loss with the features moved all the way and nothing trained."""
    done = allocate(ground.model, assignment)
    done.move(1.0)
    return cross_entropy(done.model, texts.heldout)
