"""What a recipe will cost, before it runs: memory by arithmetic, time by trying a little of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch

from monosemy.data.capture import GROUP
from monosemy.data.shards import open_shards
from monosemy.data.text import open_corpus
from monosemy.models import tap
from monosemy.models.loading import LoadedModel
from monosemy.models.sites import Site
from monosemy.recipes.dictionary import (
    DictionaryRecipe,
    begin,
    check,
    load_place,
)
from monosemy.training.loop import advance_program
from monosemy.training.optim import Optimiser
from monosemy.training.start import look

# Libraries, text and tokens, and passing temporaries: the measured peak of a training by the demo
# recipe on two cores (1,015 MiB) less the parts counted below. The libraries alone are 375.
LIBRARIES_MIB = 580


def plan(recipe: DictionaryRecipe) -> dict[str, Any]:
    """Steps, sizes, memory and seconds of a run of `recipe`, as JSON values.

    Memory is the sum of what is held at once: parameters, gradients and two moments; the block of
    activations; the pre-activations of a batch with the temporaries of the selection; the model.
    Time extrapolates a few real steps on random activations, and one real group of contexts.
    """
    check(recipe)
    reading = _what_is_read(recipe)
    step_seconds = _time_step(recipe, reading.width)
    read_tokens = recipe.epochs * reading.tokens
    steps = recipe.epochs * (reading.tokens // recipe.batch)
    parameters = recipe.latents * (2 * reading.width + 1) + reading.width
    sizes = {
        "libraries": LIBRARIES_MIB,
        "model": _mib(reading.model_bytes),
        "dictionary": _mib(16 * parameters),
        "block": _mib(min(recipe.block, reading.tokens) * reading.row_bytes),
        "step": _mib(recipe.batch * recipe.latents * 4 * 3),
        # The state and its bytes, side by side for as long as a checkpoint is written.
        "saving": _mib(2 * 12 * parameters),
    }
    seconds = {"reading": read_tokens * reading.seconds, "steps": steps * step_seconds}
    return {
        "recipe": asdict(recipe),
        "site": {"name": recipe.site, "width": reading.width},
        "steps": steps,
        "tokens": read_tokens,
        "parameters": parameters,
        "memory_mib": {**sizes, "total": sum(sizes.values())},
        "seconds": {
            **{name: round(value, 1) for name, value in seconds.items()},
            "total": round(sum(seconds.values()), 1),
        },
        "checkpoint_mib": _mib(12 * parameters),
    }


@dataclass(frozen=True)
class _Reading:
    tokens: int
    width: int
    row_bytes: int
    model_bytes: int
    seconds: float  # for each token


def _what_is_read(recipe: DictionaryRecipe) -> _Reading:
    if recipe.shards is not None:  # no model runs, so none is loaded
        source = open_shards(recipe.shards, recipe.site)
        row = source.width * source.dtype.itemsize
        return _Reading(source.tokens, source.width, row, 0, 0.0)
    loaded, site = load_place(recipe)
    open_corpus(recipe.text, "train")  # a text that cannot be read is refused now, not later
    size = sum(p.numel() * p.element_size() for p in loaded.model.parameters())
    seconds = _time_reading(recipe, loaded, site)
    row = site.width * loaded.dtype.itemsize
    return _Reading(recipe.tokens, site.width, row, size, seconds)


def _time_step(recipe: DictionaryRecipe, width: int) -> float:
    rows = torch.randn(recipe.batch, width, generator=recipe.compute.generator("plan"))
    program = begin(recipe, rows, look(rows, "mean"), recipe.steps)
    optimiser = Optimiser(program.module.parameters(), recipe.optim, 10)
    batch = rows.to(recipe.device)
    return _median_seconds(lambda: advance_program(program, optimiser, batch, 5))


def _time_reading(recipe: DictionaryRecipe, loaded: LoadedModel, site: Site) -> float:
    """Seconds a token."""
    length = min(recipe.context, loaded.context)
    draw = recipe.compute.generator("plan")
    ids = torch.randint(0, loaded.vocabulary, (GROUP, length), generator=draw).to(recipe.device)
    return _median_seconds(lambda: tap.read(loaded.model, [site], ids)) / ids.numel()


def _median_seconds(work: Callable[[], Any], rounds: int = 3) -> float:
    work()  # the first call pays for what is set up once
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return sorted(taken)[rounds // 2]


def _mib(size: float) -> int:
    return round(size / 2**20)
