"""The specimen's architecture under several norms, all else equal, and what each learned."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from monosemy.data.capture import Reader
from monosemy.data.streams import TokenStream
from monosemy.data.text import open_corpus
from monosemy.data.tokens import Contexts, Packing, pack
from monosemy.dictionaries.base import Dictionary
from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.selection import TopK
from monosemy.foundation.errors import nearest, refuse
from monosemy.foundation.progress import SILENT, Progress, Task
from monosemy.models import norms, sites, tap
from monosemy.models.loading import LoadedModel
from monosemy.models.norms import KINDS, replace_norms
from monosemy.recipes import specimen
from monosemy.recipes.specimen import SpecimenRecipe, cross_entropy
from monosemy.superposition.freedom import participation_ratio
from monosemy.tensors.axes import Activations, Float, Tensor
from monosemy.tensors.compute import Compute
from monosemy.training.loop import advance_program
from monosemy.training.objectives import LearnDictionary, NextToken, ObjectiveConfig
from monosemy.training.optim import OptimConfig, Optimiser
from monosemy.training.start import look, sample_directions

# Where GPT-2 begins: entries of both embeddings have a standard deviation of 0.02.
_BEGINS_AT = 0.02 * 2**0.5
SITE = "blocks.0.mlp.hook_post"
"""Where the dictionary reads: the neurons of the one MLP, as in the specimen."""


@dataclass(frozen=True)
class NormsConfig:
    """A run short enough to be made many times."""

    kinds: tuple[str, ...] = KINDS
    """Norms that are compared, each in the place of all three of the model's."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Of weights and order of text; the same for every norm."""
    vocabulary: int = 1024
    """Byte-level BPE tokens."""
    width: int = 64
    """Numbers in the residual stream."""
    neurons: int = 256
    """ReLU neurons."""
    context: int = 128
    """Positions in a window."""
    steps: int = 500
    """Updates: as many as the specimen's own, of a quarter of its tokens."""
    batch: int = 16
    """Windows in an update."""
    pools: int = 8
    """Pools of the divisive norms."""
    sigma: float = 0.01
    """Of the divisive norms: a third of the stream's root mean square at the start."""
    learning_rate: float = 3e-3
    """The same for every norm; none was tuned."""
    heldout: int = 40_000
    """Tokens that losses are measured on."""
    latents: int = 512
    """Of the dictionary that reads the neurons of each model."""
    k: int = 16
    """Its active latents a token."""
    dictionary_steps: int = 150
    """Its updates of 512 tokens."""

    def __post_init__(self) -> None:
        reasons = [
            f"unknown norm {kind!r}; known: {', '.join(KINDS)}{nearest(kind, KINDS)}"
            for kind in self.kinds
            if kind not in KINDS
        ]
        if "layernorm" not in self.kinds:
            reasons.append("kinds leaves out layernorm, which the others are compared with")
        if len(set(self.seeds)) < 2:
            reasons.append(f"seeds = {self.seeds}; an interval needs at least two different ones")
        if self.pools < 1 or self.width % self.pools:
            reasons.append(f"pools = {self.pools} do not divide width = {self.width}")
        least = {"steps": 1, "batch": 1, "heldout": 1000, "dictionary_steps": 1, "k": 1}
        reasons += [
            f"{name} = {getattr(self, name)}; wanted at least {lowest}"
            for name, lowest in least.items()
            if getattr(self, name) < lowest
        ]
        refuse(reasons, "this comparison of norms")

    @property
    def specimen(self) -> SpecimenRecipe:
        """The specimen's recipe at this size."""
        return SpecimenRecipe(
            vocabulary=self.vocabulary, width=self.width, heads=2, neurons=self.neurons,
            context=self.context, steps=self.steps, batch=self.batch, autocast="float32",
            optim=OptimConfig(learning_rate=self.learning_rate, warmup=0.1, decay=0.4,
                              betas=(0.9, 0.98), weight_decay=0.1),
        )  # fmt: skip


@dataclass(frozen=True)
class Learned:
    """What one model with one norm learned.

    Attributes
    ----------
    kind, seed : of the model.
    loss : next-token cross-entropy on held-out text, in nats.
    numbers : measures of superposition and of the dictionary; see `compare_norms`.
    """

    kind: str
    seed: int
    loss: float
    numbers: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Flat."""
        return {"norm": self.kind, "seed": self.seed, "loss": self.loss, **self.numbers}


def compare_norms(
    config: NormsConfig, compute: Compute, progress: Progress = SILENT
) -> list[Learned]:
    """Train each kind with each seed, on the same batches, and measure it.

    Measures, beside the loss: ``overlap_*`` is the mean squared cosine of different rows, about
    their mean, times the number of axes (1 for random directions, 0 for orthogonal ones): of
    embeddings, of what neurons write (``W_out``), of unembeddings; ``participation_*`` the share of
    axes that their spectrum uses; ``explained_variance`` of a small TopK dictionary on the neurons,
    and ``ce_recovered`` when its reconstruction takes their place, of what zeros there would cost.
    """
    recipe = config.specimen
    train, heldout, tokenizer = _texts(config, recipe, compute, progress)
    found = list[Learned]()
    cells = [(seed, kind) for seed in config.seeds for kind in config.kinds]
    each = config.steps + config.dictionary_steps
    with progress.task("norms", len(cells) * each, "steps") as task:
        for seed, kind in cells:
            here = replace(compute, seed=compute.seed + seed)
            model = _model(recipe, tokenizer, kind, config, here)
            _train(model, train, recipe, config.steps, here, task)
            loss = cross_entropy(model, heldout)
            numbers = shapes(model) | _dictionary(model, tokenizer, train, heldout, loss, config,
                                                  here, task)  # fmt: skip
            found.append(Learned(kind, seed, loss, numbers))
            task.advance(0, f"{kind}: {loss:.3f} nats")
    return found


def _texts(
    config: NormsConfig, recipe: SpecimenRecipe, compute: Compute, progress: Progress
) -> tuple[Contexts, Contexts, Any]:
    corpora = [open_corpus("stdlib", split) for split in ("train", "heldout")]
    with tempfile.TemporaryDirectory() as folder:
        # The specimen's own making of a tokenizer, at another size.
        tokenizer = specimen._tokenizer(recipe, corpora[0], Path(folder))
    wanted = (config.steps * config.batch * config.context, config.heldout)
    parts = [
        pack(corpus, tokenizer, Packing(config.context, tokens, drop_bos=False), compute, progress)
        for corpus, tokens in zip(corpora, wanted, strict=True)
    ]
    return parts[0], parts[1], tokenizer


def _model(
    recipe: SpecimenRecipe, tokenizer: Any, kind: str, config: NormsConfig, compute: Compute
) -> Any:
    """The same first weights for every kind."""
    model = specimen._model(recipe, tokenizer, compute)
    draw = compute.generator("learned pools")
    replace_norms(model, kind, pools=config.pools, sigma=config.sigma, draw=draw)
    for module in model.modules():
        if isinstance(module, norms.NoNorm):
            # What nobody normalises would begin 35 times smaller than the others.
            module.weight = torch.nn.Parameter(torch.full((module.width,), 1 / _BEGINS_AT))
    return model


def _train(
    model: Any, windows: Contexts, recipe: SpecimenRecipe, steps: int, compute: Compute, task: Task
) -> None:
    program = NextToken(model)
    optimiser = Optimiser(model.parameters(), recipe.optim, steps)
    stream = TokenStream(windows, recipe.batch, compute)
    for step in range(steps):
        loss, _ = advance_program(program, optimiser, next(stream), step)
        task.advance(1, f"loss {float(loss):.3f}" if step % 20 == 0 else "")
    model.eval().requires_grad_(False)


def shapes(model: Any) -> dict[str, float]:
    """How much the model's directions overlap; see `compare_norms`."""
    body = model.base_model
    matrices = {
        "embeddings": body.wte.weight,
        "W_out": body.h[0].mlp.c_proj.weight,
        "unembeddings": model.get_output_embeddings().weight,
    }
    found = {}
    for name, matrix in matrices.items():
        rows = matrix - matrix.mean(0)  # a direction that all share says nothing of any
        found[f"overlap_{name}"] = overlap(rows) * rows.shape[1]
        found[f"participation_{name}"] = participation_ratio(rows) / rows.shape[1]
    return found


def overlap(rows: Float[Tensor, "row width"]) -> float:
    """Mean squared cosine of different rows; ``1 / width`` for random directions."""
    unit = torch.nn.functional.normalize(rows.double(), dim=1)
    squares = (unit.T @ unit).square().sum()
    n = len(unit)
    return float((squares - n) / (n * (n - 1)))


def _dictionary(
    model: Any, tokenizer: Any, train: Contexts, heldout: Contexts, clean: float,
    config: NormsConfig, compute: Compute, task: Task,
) -> dict[str, float]:  # fmt: skip
    loaded = LoadedModel("a norm's model", model, tokenizer, "gpt2", config.context)
    site = sites.resolve(model, SITE)
    tokens = 512 * config.dictionary_steps
    seen = min(tokens, train.tokens)
    rows = Reader(loaded, [site], train).rows(0, seen)[SITE]
    dictionary = learn_dictionary(
        rows, config.latents, config.k, config.dictionary_steps, compute, task
    )
    unseen = Reader(loaded, [site], heldout).rows(0, heldout.tokens)[SITE]
    left = (unseen - dictionary(unseen)).square().sum()
    explained = 1 - float(left / (unseen - unseen.mean(0)).square().sum())

    def rebuilt(x: Tensor) -> Tensor:
        return dictionary(x.flatten(0, 1)).view_as(x)

    with tap.editing(model, {site: rebuilt}):
        spliced = cross_entropy(model, heldout)
    with tap.editing(model, {site: torch.zeros_like}):
        zero = cross_entropy(model, heldout)
    return {
        "explained_variance": explained,
        "ce_zero": zero,
        "ce_recovered": (zero - spliced) / (zero - clean),
        "active_neurons": float((unseen > 0).float().mean()),
    }


@torch.enable_grad()
def learn_dictionary(
    rows: Activations, latents: int, k: int, steps: int, compute: Compute, task: Task
) -> Dictionary:
    """A TopK dictionary of `rows`, 512 at a step."""
    draw = compute.generator("a small dictionary")
    start = look(rows[torch.randperm(len(rows), generator=draw)[:4096]])
    directions = sample_directions(start.centred(rows[:8192]), latents, draw)
    small = FlatDictionary.tied(directions, start.offset, TopK(k)).train()
    program = LearnDictionary(small, start, ObjectiveConfig(), steps, compute.seed)
    optimiser = Optimiser(small.parameters(), OptimConfig(learning_rate=3e-3), steps)
    for step in range(steps):
        batch = rows[torch.randint(len(rows), (512,), generator=draw)]
        advance_program(program, optimiser, batch, step)
        task.advance()
    return program.result().requires_grad_(False)


def table(found: Sequence[Learned]) -> list[dict[str, Any]]:
    """Every model, as JSON."""
    return [one.to_json() for one in found]


def settings(config: NormsConfig) -> dict[str, Any]:
    """Of the comparison, for its page."""
    return {key: value for key, value in asdict(config).items() if key not in ("kinds", "seeds")}
