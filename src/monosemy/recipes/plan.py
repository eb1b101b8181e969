"""What a recipe will cost, before it runs: memory by arithmetic, time by trying a little of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import torch

from monosemy.data.capture import contexts_at_once
from monosemy.data.streams import SLICE, Source
from monosemy.data.text import Corpus, Document, open_corpus
from monosemy.data.tokens import Packing, pack
from monosemy.models import tap
from monosemy.models.loading import LoadedModel
from monosemy.models.sites import Site
from monosemy.recipes.building import parameters
from monosemy.recipes.dictionary import Learner, begin, look_at
from monosemy.recipes.memory import MIB, Reading, estimate, keep_within
from monosemy.recipes.recipe import DictionaryRecipe, check
from monosemy.recipes.setting import START_ROWS, Widths, load_places, open_source, reading_of
from monosemy.tensors.axes import Int, Tensor
from monosemy.training.loop import advance_program
from monosemy.training.optim import Optimiser

# Characters that are tokenised for the time of it.
_TRIED = 1 << 17
# End to end the model runs clean and spliced, and backward, which takes as long as two passes.
_PASSES = 4


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
        "steps": steps * _time_step(recipe, reading),
    }
    learned = parameters(recipe, reading.read, reading.written)
    return {
        "recipe": asdict(recipe),
        "site": {"name": recipe.place, "width": reading.width},
        "steps": steps,
        "tokens": tokens,
        "parameters": learned,
        "memory_mib": estimate(recipe, reading),
        "seconds": {
            **{name: round(value, 1) for name, value in seconds.items()},
            "total": round(sum(seconds.values()), 1),
        },
        "checkpoint_mib": round(12 * learned / MIB),
    }


def _look(recipe: DictionaryRecipe) -> tuple[Reading, dict[str, float]]:
    """What is read, and seconds for each token of it; refuses before anything large is made."""
    if recipe.shards is not None or recipe.world:  # no model runs, so none is loaded
        opened = open_source(recipe)
        widths = opened.read, opened.written
        each = _time_drawing(opened.source) if recipe.world else 0.0
        return Reading.of_shards(opened.source, widths, START_ROWS), {"text": 0.0, "reading": each}
    places, corpus = load_places(recipe), open_corpus(recipe.text, "train")
    reading = reading_of(places, corpus, recipe.tokens)
    keep_within(recipe, reading)
    if recipe.end_to_end.wanted:
        each = _PASSES * _time_pass(recipe, places.loaded)
    else:
        each = sum(_time_reading(recipe, one, places.columns) for one in places.models)
    return reading, {"text": _time_text(recipe, places.loaded, corpus), "reading": each}


def _time_drawing(source: Source) -> float:
    """Seconds a sample of a world: of other samples each time, as those drawn last are kept."""
    starts = iter(range(0, 4 * SLICE, SLICE))

    def draw() -> None:
        start = next(starts)
        source.rows(start, start + SLICE)

    return _median_seconds(draw) / SLICE


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


def _time_step(recipe: DictionaryRecipe, reading: Reading) -> float:
    """Mean seconds of a step, from steps at the beginning and at the end of the run."""
    draw = recipe.compute.generator("plan")
    rows = torch.randn(recipe.batch, reading.width, generator=draw)
    opened = Widths(reading.read, reading.written)
    program = begin(recipe, opened, rows, look_at(recipe, opened, rows), recipe.steps)
    optimiser = Optimiser(program.module.parameters(), recipe.optim, 10)
    batch = rows.to(recipe.device)

    def at(step: int) -> float:
        program.step = step
        return _median_seconds(lambda: advance_program(program, optimiser, batch, 5))

    falling = _share_of_falling(recipe, program)
    early = at(0)
    return early * falling / 2 + at(recipe.steps) * (1 - falling / 2) if falling else early


def _share_of_falling(recipe: DictionaryRecipe, program: Learner) -> float:
    """The share of all steps during which more than k latents are active."""
    more = bool(program.k) and (recipe.objective.k_start or 0) > recipe.k
    return recipe.objective.k_fall if more else 0.0


def _time_reading(recipe: DictionaryRecipe, loaded: LoadedModel, sites: Sequence[Site]) -> float:
    """Seconds a token."""
    ids = _some_ids(recipe, loaded)
    return _median_seconds(lambda: tap.read(loaded.model, list(sites), ids)) / ids.numel()


@torch.no_grad()
def _time_pass(recipe: DictionaryRecipe, loaded: LoadedModel) -> float:
    """Seconds a token, of a whole pass with logits."""
    ids = _some_ids(recipe, loaded)
    run = partial(loaded.model, input_ids=ids, use_cache=False)
    return _median_seconds(run) / ids.numel()


def _some_ids(recipe: DictionaryRecipe, loaded: LoadedModel) -> Int[Tensor, "context position"]:
    length = min(recipe.context, loaded.context)
    draw = recipe.compute.generator("plan")
    shape = (contexts_at_once(length, loaded.device), length)
    return torch.randint(0, loaded.vocabulary, shape, generator=draw).to(recipe.device)


def _median_seconds(work: Callable[[], Any], rounds: int = 3) -> float:
    work()  # the first call pays for what is set up once
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return sorted(taken)[rounds // 2]
