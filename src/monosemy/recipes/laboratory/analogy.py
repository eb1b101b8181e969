"""Analogies: in word vectors, in models, in a dictionary's features, and in a world made for them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from monosemy.data.vectors import Questions, WordVectors, read_questions, read_vectors
from monosemy.foundation.errors import UserError, refuse
from monosemy.foundation.progress import SILENT, Progress
from monosemy.models.loading import LoadedModel, load
from monosemy.recipes.absorption import open_dictionary
from monosemy.recipes.laboratory.word_models import (
    EMBEDDING,
    activation_vectors,
    embedding_vectors,
    words_in,
)
from monosemy.superposition.analogy import ADD, METHODS, score
from monosemy.superposition.carriers import carriers
from monosemy.superposition.cooccurrence import WorldOfWords, by_rank, halfway
from monosemy.superposition.relations import FEWEST, look, needed_axis
from monosemy.tensors.axes import Int, Tensor
from monosemy.tensors.compute import Compute

_WORD = re.compile(r"\s*([-+]?)\s*([^\s+-][^\s+]*)")
_SIGN = re.compile(r"([-+])")
NEIGHBOURS = 10
# Pairs of a relation whose needed axis is worked out: every two make a question.
_MOST_PAIRS = 24


@dataclass(frozen=True)
class AnalogyConfig:
    """What is asked of which vectors. Nothing named: the world made for it."""

    vectors: str | None = None
    """A file of word vectors: text, or ``.npz``."""
    model: str | None = None
    """Read the vectors of words inside this model instead."""
    site: str = EMBEDDING
    """Where: ``embedding``, or a site whose activations are read, each word alone."""
    dictionary: str | None = None
    """A run; its model and site are read, and its features are named that carry offsets."""
    questions: str | None = None
    """Four words a line, ``: name`` above a section."""
    ask: str | None = None
    """One question, as in ``wife - husband + king``."""

    def __post_init__(self) -> None:
        named = {"vectors": self.vectors, "model": self.model, "dictionary": self.dictionary}
        given = [f"--{name}" for name, value in named.items() if value is not None]
        reasons = list[str]()
        if len(given) > 1:
            reasons.append(f"{' and '.join(given)} were given; wanted one source of vectors")
        wanted = self.questions is not None or self.ask is not None
        if given and not wanted:
            reasons.append(f"{given[0]} without a question; add --questions FILE, or --ask")
        if wanted and not given:
            reasons.append("a question without vectors; add --vectors, --model or --dictionary")
        if self.site != EMBEDDING and self.model is None:
            reasons.append(f"site {self.site!r} without a model; add --model")
        refuse(reasons, "this analogy")
        if self.ask is not None:
            parse(self.ask)


def parse(question: str) -> tuple[str, str, str]:
    """``b - a + c`` as (a, b, c): what is to c as b is to a?

    >>> parse("wife - husband + king")
    ('husband', 'wife', 'king')
    """
    # Without spaces every sign is one of the question's; with them a word may hold a hyphen.
    found = _WORD.findall(question if " " in question.strip() else _SIGN.sub(r" \1 ", question))
    plus = [word for sign, word in found if sign != "-"]
    minus = [word for sign, word in found if sign == "-"]
    if len(plus) != 2 or len(minus) != 1:
        raise UserError(
            f"question {question!r}; wanted two words added and one taken away, as in "
            "'wife - husband + king'"
        )
    return minus[0], plus[0], plus[1]


def neighbours(vectors: WordVectors, question: str, most: int = NEIGHBOURS) -> dict[str, Any]:
    """The words nearest to ``b - a + c``, those of the question marked."""
    words = parse(question)
    missing = [word for word in words if vectors.place(word) is None]
    refuse(
        [f"{vectors.name} has no vector for {word!r} ({len(vectors.words):,} words)"
         for word in missing], f"the question {question!r}",
    )  # fmt: skip
    a, b, c = (vectors.place(word) or 0 for word in words)
    query = vectors.unit[b] - vectors.unit[a] + vectors.unit[c]
    cosines = vectors.unit @ torch.nn.functional.normalize(query, dim=0)
    order = cosines.argsort(descending=True)[:most].tolist()
    found = [{"word": vectors.words[i], "cosine": float(cosines[i]), "of_the_question": i in (a, b, c)}
             for i in order]  # fmt: skip
    answer = next((one["word"] for one in found if not one["of_the_question"]), None)
    return {"question": question, "answer": answer, "nearest": found, "words": len(vectors.words)}


def examine_vectors(
    config: AnalogyConfig, compute: Compute, progress: Progress = SILENT
) -> dict[str, Any]:
    """Everything that is asked of the vectors of `config`, as JSON.

    Errors
    ------
    `UserError` for files and models that are not there, and words and questions without vectors.
    """
    vectors, features = _open(config, compute, progress)
    found: dict[str, Any] = {"vectors": {"name": vectors.name, "words": len(vectors.words),
                                         "width": vectors.values.shape[1]}}  # fmt: skip
    if config.ask is not None:
        found["ask"] = neighbours(vectors, config.ask)
    if config.questions is None:
        return found
    questions = read_questions(config.questions, vectors)
    with progress.task("ask", 1, "files") as task:
        scored = score(vectors.unit, questions)
        task.advance(1)
    draw = compute.generator("questions drawn again")
    found |= scored.to_json()
    found["interval"] = {name: scored.interval(name, draw) for name in METHODS}
    found["relations"] = relations(vectors, questions, compute, progress)
    if features is not None:
        found["carriers"] = _carried(features, vectors, questions)
    return found


def relations(
    vectors: WordVectors, questions: Questions, compute: Compute, progress: Progress = SILENT
) -> dict[str, Any]:
    """Offsets of every section that has three pairs, and the axis that it would need."""
    found = {}
    draw = compute.generator("pairs dealt anew")
    with progress.task("relations", len(questions.sections), "sections") as task:
        for number, name in enumerate(questions.sections):
            pairs = questions.pairs(number)
            task.advance(1, name)
            if len(pairs) < FEWEST:
                continue
            one = look(vectors.unit, pairs, draw).to_json()
            chosen = pairs[torch.randperm(len(pairs), generator=draw)[:_MOST_PAIRS]]
            try:
                one["axis"] = needed_axis(vectors.unit, chosen).to_json()
            except UserError as error:  # all pairs share a word, as a currency of one country
                one["axis"] = {"note": str(error)}
            found[name] = one
    return found


@dataclass(frozen=True, eq=False)
class _Features:
    """The dictionary, and the activations that it reads, word by word."""

    dictionary: Any
    activations: Tensor


def _open(
    config: AnalogyConfig, compute: Compute, progress: Progress
) -> tuple[WordVectors, _Features | None]:
    if config.vectors is not None:
        return read_vectors(config.vectors), None
    wanted = words_in(config.questions) if config.questions else []
    wanted += [word for word in parse(config.ask) if word not in wanted] if config.ask else []
    if config.dictionary is not None:
        return _open_features(config.dictionary, wanted, compute, progress)
    loaded = load(config.model or "", compute, progress)
    if config.site == EMBEDDING:
        return embedding_vectors(loaded), None
    return activation_vectors(loaded, config.site, wanted, progress), None


def _open_features(
    path: str, words: Sequence[str], compute: Compute, progress: Progress
) -> tuple[WordVectors, _Features]:
    recipe, dictionary = open_dictionary(Path(path), {})
    if recipe.world:
        raise UserError(
            f"the run in {path} learned from world {recipe.world!r}, which has no words"
        )
    loaded: LoadedModel = load(recipe.model, recipe.compute, progress)
    vectors = activation_vectors(loaded, recipe.site, words, progress, centre=False)
    dictionary.check_width(vectors.values.shape[1], f"site {recipe.site}")
    with torch.no_grad():
        codes = dictionary.encode(vectors.values.to(dictionary.b_dec)).float().cpu()
    name = f"features of {path} ({recipe.model} at {recipe.site})"
    return WordVectors(name, vectors.words, codes), _Features(dictionary, vectors.values)


def _carried(features: _Features, codes: WordVectors, questions: Questions) -> dict[str, Any]:
    directions = features.dictionary.W_dec.detach().float().cpu()
    found = {}
    for number, name in enumerate(questions.sections):
        pairs: Int[Tensor, "pair 2"] = questions.pairs(number)
        if len(pairs) < FEWEST:
            continue
        x = features.activations
        offset = (x[pairs[:, 1]] - x[pairs[:, 0]]).mean(0)
        first, second = codes.values[pairs[:, 0]], codes.values[pairs[:, 1]]
        found[name] = {"pairs": len(pairs),
                       **carriers(first, second, directions, offset).to_json()}  # fmt: skip
    return found


# --- the world -----------------------------------------------------------------------------------


def ranks_for(world: WorldOfWords) -> list[int]:
    """Every rank up to A + E + 2, then some, up to one below the number of words."""
    top = world.dimensions
    more = (round(top * factor) for factor in (1.25, 1.5, 2, 2.5))
    return sorted({*range(1, top + 3), *more, world.words - 1} & set(range(1, world.words)))


def examine_world(
    world: WorldOfWords, compute: Compute, progress: Progress = SILENT
) -> dict[str, Any]:
    """Accuracy and parallelism at every rank; see `cooccurrence.by_rank`."""
    from scipy.stats import spearmanr

    ranks = ranks_for(world)
    with progress.task("world", 1, "worlds") as task:
        found = by_rank(world, ranks, compute)
        task.advance(1)
    top = world.dimensions
    below = [one for one in found if one.rank <= top]
    accuracy, parallel = (
        [getattr(one, name) for one in found] for name in ("accuracy", "parallelism")
    )
    return {
        "world": dict(vars(world)), "words": world.words, "questions": len_questions(world),
        "dimensions": top, "method": ADD, "ranks": [one.to_json() for one in found],
        "at_enough": min(one.accuracy for one in found if one.rank >= top),
        "below": min(one.accuracy for one in found if one.rank < top),
        "halfway": {"accuracy": halfway(ranks, accuracy, top),
                    "parallelism": halfway(ranks, parallel, top)},
        "rank_correlation": float(spearmanr([one.accuracy for one in below],
                                            [one.parallelism for one in below]).statistic),
    }  # fmt: skip


def len_questions(world: WorldOfWords) -> int:
    """Questions that such a world has."""
    A, E = world.attributes, world.entities
    return A * (A - 1) * E * (E - 1)
