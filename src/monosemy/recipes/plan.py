"""What a recipe will cost, before it runs: memory by arithmetic, time by trying a little of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import torch

from monosemy.data.capture import contexts_at_once
from monosemy.data.shards import open_shards
from monosemy.data.text import Corpus, Document, open_corpus
from monosemy.data.tokens import Packing, pack
from monosemy.models import tap
from monosemy.models.loading import LoadedModel
from monosemy.models.sites import Site
from monosemy.recipes.dictionary import (
    START_ROWS,
    DictionaryRecipe,
    begin,
    check,
    load_place,
)
from monosemy.recipes.memory import MIB, Reading, estimate, keep_within
from monosemy.training.loop import advance_program
from monosemy.training.objectives import LearnDictionary
from monosemy.training.optim import Optimiser
from monosemy.training.start import look

# Characters that are tokenised for the time of it.
_TRIED = 1 << 17


def plan(recipe: DictionaryRecipe) -> dict[str, Any]:
    """Steps, sizes, memory and seconds of a run of `recipe`, as JSON values.

    Memory is `memory.estimate`. Time extrapolates a few real steps on random activations, one real
    group of contexts, and a little text; latents that die, and metrics, come on top.

    Errors
    ------
    `UserError` for whatever a training would refuse, too much memory included.
    """
    check(recipe)
    reading, seconds_of = _look(recipe)
    tokens = recipe.epochs * reading.tokens
    steps = recipe.epochs * (reading.tokens // recipe.batch)
    seconds = {
        "text": reading.tokens * seconds_of["text"],
        "reading": tokens * seconds_of["reading"],
        "steps": steps * _time_step(recipe, reading.width),
    }
    parameters = recipe.latents * (2 * reading.width + 1) + reading.width
    return {
        "recipe": asdict(recipe),
        "site": {"name": recipe.site, "width": reading.width},
        "steps": steps,
        "tokens": tokens,
        "parameters": parameters,
        "memory_mib": estimate(recipe, reading),
        "seconds": {
            **{name: round(value, 1) for name, value in seconds.items()},
            "total": round(sum(seconds.values()), 1),
        },
        "checkpoint_mib": round(12 * parameters / MIB),
    }


def _look(recipe: DictionaryRecipe) -> tuple[Reading, dict[str, float]]:
    """What is read, and seconds for each token of it; refuses before anything large is made."""
    if recipe.shards is not None:  # no model runs, so none is loaded
        reading = Reading.of_shards(open_shards(recipe.shards, recipe.site), START_ROWS)
        keep_within(recipe, reading)
        return reading, {"text": 0.0, "reading": 0.0}
    loaded, site = load_place(recipe)
    corpus = open_corpus(recipe.text, "train")
    reading = Reading.of_model(loaded, site, corpus, recipe.tokens, START_ROWS)
    keep_within(recipe, reading)
    seconds = {
        "text": _time_text(recipe, loaded, corpus),
        "reading": _time_reading(recipe, loaded, site),
    }
    return reading, seconds


def _time_text(recipe: DictionaryRecipe, loaded: LoadedModel, corpus: Corpus) -> float:
    """Seconds a token, of finding and packing the tokens of a little text."""
    documents, left = [], _TRIED
    for document in corpus.documents:
        documents.append(Document(document.name, document.text[:left]))
        left -= len(documents[-1].text)
        if left <= 0:
            break
    some = replace(corpus, documents=tuple(documents))
    packing = Packing(context=min(recipe.context, loaded.context))
    began = time.perf_counter()
    found = pack(some, loaded.tokenizer, packing, recipe.compute)
    return (time.perf_counter() - began) / found.tokens


def _time_step(recipe: DictionaryRecipe, width: int) -> float:
    """Mean seconds of a step, from steps at the beginning and at the end of the run."""
    rows = torch.randn(recipe.batch, width, generator=recipe.compute.generator("plan"))
    program = begin(recipe, rows, look(rows, "mean"), recipe.steps)
    optimiser = Optimiser(program.module.parameters(), recipe.optim, 10)
    batch = rows.to(recipe.device)

    def at(step: int) -> float:
        program.step = step
        return _median_seconds(lambda: advance_program(program, optimiser, batch, 5))

    falling = _share_of_falling(recipe, program)
    early = at(0)
    return early * falling / 2 + at(recipe.steps) * (1 - falling / 2) if falling else early


def _share_of_falling(recipe: DictionaryRecipe, program: LearnDictionary) -> float:
    """The share of all steps during which more than k latents are active."""
    more = bool(program.k) and (recipe.objective.k_start or 0) > recipe.k
    return recipe.objective.k_fall if more else 0.0


def _time_reading(recipe: DictionaryRecipe, loaded: LoadedModel, site: Site) -> float:
    """Seconds a token."""
    length = min(recipe.context, loaded.context)
    draw = recipe.compute.generator("plan")
    shape = (contexts_at_once(length, loaded.device), length)
    ids = torch.randint(0, loaded.vocabulary, shape, generator=draw).to(recipe.device)
    return _median_seconds(lambda: tap.read(loaded.model, [site], ids)) / ids.numel()


def _median_seconds(work: Callable[[], Any], rounds: int = 3) -> float:
    work()  # the first call pays for what is set up once
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return sorted(taken)[rounds // 2]
