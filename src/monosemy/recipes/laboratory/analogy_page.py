"""The page about analogies: a made world, planted and random vectors, word vectors where there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from monosemy.foundation.progress import SILENT, Progress
from monosemy.recipes.laboratory import data_folder
from monosemy.recipes.laboratory.analogy import AnalogyConfig, examine_vectors, examine_world
from monosemy.recipes.laboratory.word_models import EMBEDDING
from monosemy.reports import analogy as reports
from monosemy.reports.laboratory import Picture
from monosemy.superposition.analogy import ADD, answers
from monosemy.superposition.claims import MEASURED, NULL, PLANTED, Claim, Finding
from monosemy.superposition.cooccurrence import WorldOfWords, all_questions
from monosemy.superposition.relations import captured, consistency, needed_axis
from monosemy.tensors.axes import Float, Tensor
from monosemy.tensors.compute import Compute

SEEDS = 3
# Fixed before anything was measured.
RIGHT, FALLEN, RANK_CORRELATION, HALFWAY_SHARE = 0.95, 0.5, 0.9, 0.1
_RANDOM_WIDTH = 200
QUESTIONS = "analogies/questions-words.txt"
# File, questions covered and right (excluding question words) as counted by whoever packed the data.
VECTORS = {
    "GloVe 50d": ("vectors/glove-50d-2445.txt", 961, 646),
    "word2vec 300d": ("vectors/word2vec-300d-1000.npz", 258, 219),
}
_MODEL = "models/minilm-l6"
_BLOCKS = (0, 2, 5)
_ASK = "wife - husband + king"


def examine(compute: Compute, progress: Progress = SILENT) -> tuple[Claim, Sequence[Picture]]:
    """The claim, and its figures."""
    worlds = [examine_world(WorldOfWords(), replace(compute, seed=compute.seed + seed), progress)
              for seed in range(SEEDS)]  # fmt: skip
    findings = [*_of_worlds(worlds), *_planted(compute)]
    pictures = [Picture(
        "analogy-world",
        "Vectors of a made world, by their dimension: 3CosAdd and the parallelism of offsets "
        f"fall together below A + E. {SEEDS} seeds.",
        reports.world_svg(worlds), worlds,
    )]  # fmt: skip
    words = [_WORDS]
    for name, (file, covered, correct) in VECTORS.items():
        found = _asked(
            AnalogyConfig(vectors=file, questions=QUESTIONS, ask=_ASK), compute, progress
        )
        if found is None:
            words.append(data_folder.left_out(name, file))
            continue
        findings += _of_vectors(name, found, covered, correct)
        short = name.split()[0].lower()
        pictures.append(Picture(
            f"analogy-{short}",
            f"{name}: mean cosine of the offsets of each relation (number of pairs) beside the same "
            "words dealt anew, and questions right with and without their own words as answers.",
            reports.relations_svg(found), found,
        ))  # fmt: skip
    found = _asked(AnalogyConfig(model=_MODEL, questions=QUESTIONS, ask=_ASK), compute, progress)
    if found is None:
        words.append(data_folder.left_out("The embedding of a model", _MODEL))
    else:
        findings += _of_model(found)
        words.append(_MODEL_WORDS)
        for block in _BLOCKS:
            config = AnalogyConfig(
                model=_MODEL, questions=QUESTIONS, site=f"blocks.{block}.hook_resid_post"
            )
            behind = _asked(config, compute, progress)
            assert behind is not None, "the model was there a moment ago"
            findings += _of_model(behind)
    return _claim(findings, " ".join(words), compute), pictures


def _asked(config: AnalogyConfig, compute: Compute, progress: Progress) -> dict[str, Any] | None:
    """Examined, with the files of the data folder; `None` where one is not there."""
    given = {key: value for key in ("vectors", "model", "questions")
             if (value := getattr(config, key)) is not None}  # fmt: skip
    paths = {key: data_folder.find(value) for key, value in given.items()}
    if any(path is None for path in paths.values()):
        return None
    there = replace(config, **{key: str(path) for key, path in paths.items()})
    found = examine_vectors(there, compute, progress)
    if config.model:
        name = config.model.split("/")[-1]
        where = "embedding of " + name if config.site == EMBEDDING else f"{name} at {config.site}"
        found["vectors"]["name"] = where
    return found


def _of_worlds(worlds: Sequence[Mapping[str, Any]]) -> list[Finding]:
    n = f"{len(worlds)} worlds of {worlds[0]['questions']:,} questions"
    top = worlds[0]["dimensions"]
    enough = min(world["at_enough"] for world in worlds)
    below = max(world["below"] for world in worlds)
    correlation = min(world["rank_correlation"] for world in worlds)
    apart = max(abs(w["halfway"]["accuracy"] - w["halfway"]["parallelism"]) for w in worlds)
    return [
        Finding("3CosAdd right, worst of all dimensions ≥ A + E", enough, n, f"≥ {RIGHT}", PLANTED,
                enough >= RIGHT),
        Finding("3CosAdd right, lowest below A + E", below, n, f"≤ {FALLEN}", PLANTED, below <= FALLEN),
        Finding("rank correlation of 3CosAdd and parallelism over dimensions ≤ A + E, lowest",
                correlation, n, f"≥ {RANK_CORRELATION}", PLANTED, correlation >= RANK_CORRELATION),
        Finding("dimensions between where accuracy and parallelism are halfway down, most", apart, n,
                f"≤ {HALFWAY_SHARE * top:g} (a tenth of A + E)", PLANTED, apart <= HALFWAY_SHARE * top),
        Finding("dimensions at which 3CosAdd is halfway down, mean",
                sum(w["halfway"]["accuracy"] for w in worlds) / len(worlds), n, f"A + E = {top}",
                MEASURED),
    ]  # fmt: skip


def parallelograms(world: WorldOfWords, compute: Compute) -> Float[Tensor, "word width"]:
    """Vectors of length one that are an entity's axis and an attribute's: exact parallelograms."""
    axes = torch.eye(world.dimensions)
    grid = axes[: world.entities, None] + axes[None, world.entities :]
    turn = torch.randn(world.dimensions, world.dimensions, generator=compute.generator("turn"))
    return torch.nn.functional.normalize(grid.flatten(0, 1), dim=1) @ torch.linalg.qr(turn)[0]


def _planted(compute: Compute) -> list[Finding]:
    world = WorldOfWords()
    questions = all_questions(world)
    n = f"{len(questions):,} questions"
    made = parallelograms(world, compute)
    draw = compute.generator("vectors of nothing")
    nothing = torch.nn.functional.normalize(
        torch.randn(world.words, _RANDOM_WIDTH, generator=draw), dim=1)  # fmt: skip
    right, chance = (float((answers(unit, questions.rows, ADD) == questions.rows[:, 3]).float().mean())
                     for unit in (made, nothing))  # fmt: skip
    pairs = questions.pairs(0)
    offsets, none = (unit[pairs[:, 1]] - unit[pairs[:, 0]] for unit in (made, nothing))
    same, axis = needed_axis(made, pairs), needed_axis(nothing, pairs)
    return [
        Finding("exact parallelograms: 3CosAdd right", right, n, 1, PLANTED, right == 1),
        Finding("exact parallelograms: mean cosine of offsets", consistency(offsets),
                f"{len(pairs)} pairs", "1 ± 1e-6", PLANTED, abs(consistency(offsets) - 1) < 1e-6),
        Finding("exact parallelograms: energy on one axis", captured(offsets, 1),
                f"{len(pairs)} pairs", "1 ± 1e-6", PLANTED, abs(captured(offsets, 1) - 1) < 1e-6),
        Finding("exact parallelograms: gain of the axis needed", same.gain,
                f"{same.questions} questions", "0 ± 1e-3", PLANTED, same.gain < 1e-3),
        Finding("random vectors: 3CosAdd right", chance, n, f"chance 1 / {world.words - 3}, ≤ 0.05",
                NULL, chance <= 0.05),
        Finding("random vectors: mean cosine of offsets", consistency(none), f"{len(pairs)} pairs",
                "0 ± 0.05", NULL, abs(consistency(none)) <= 0.05),
        Finding("random vectors: right with the graded axis at its smallest gain",
                f"{axis.right_with_graded} of {axis.questions}", f"{axis.questions} questions",
                "all: one dimension is always enough", PLANTED,
                axis.right_with_graded == axis.questions),
    ]  # fmt: skip


def _of_vectors(name: str, found: Mapping[str, Any], covered: int, correct: int) -> list[Finding]:
    n = f"{found['covered']:,} of {found['asked']:,} questions"
    low, high = (round(share * found["covered"]) for share in found["interval"][ADD])
    axes = [one["axis"] for one in found["relations"].values() if "note" not in one["axis"]]
    exact = sum(axis["right_with_graded"] for axis in axes)
    asked = sum(axis["questions"] for axis in axes)
    above = sum(one["consistency"] > one["shuffled"]["high"] for one in found["relations"].values())
    return [
        Finding(f"{name}: questions covered", found["covered"], n, covered,
                holds=found["covered"] == covered),
        Finding(f"{name}: 3CosAdd right", found["correct"], n, f"{correct} (counted by others)",
                holds=found["correct"] == correct, low=low, high=high),
        Finding(f"{name}: {_ASK}", found["ask"]["answer"], f"{found['ask']['words']:,} words",
                "queen", holds=found["ask"]["answer"] == "queen"),
        Finding(f"{name}: 3CosAdd right, question words allowed",
                found["correct_including_question_words"], n, "far fewer", MEASURED),
        Finding(f"{name}: 3CosMul right", found["methods"]["3CosMul"]["correct"], n, "", MEASURED),
        Finding(f"{name}: PairDirection right", found["methods"]["PairDirection"]["correct"], n, "",
                MEASURED),
        Finding(f"{name}: relations whose offsets are more alike than 95 % of deals", above,
                f"{len(found['relations'])} relations", "", MEASURED),
        Finding(f"{name}: questions right with the binary axis (before)",
                f"{sum(a['right_with_gain'] for a in axes)} ({sum(a['right_before'] for a in axes)})",
                f"{asked} questions of {len(axes)} relations, question words allowed", "", MEASURED),
        Finding(f"{name}: questions right with the graded axis", exact,
                f"{asked} questions of {len(axes)} relations", asked, PLANTED, exact == asked),
    ]  # fmt: skip


def _of_model(found: Mapping[str, Any]) -> list[Finding]:
    n = (f"{found['covered']:,} of {found['asked']:,} questions, {found['vectors']['words']:,} words "
         "to choose from")  # fmt: skip
    name = found["vectors"]["name"]
    low, high = (round(share * found["covered"]) for share in found["interval"][ADD])
    alike = sorted(one["consistency"] for one in found["relations"].values())
    dealt = sorted(one["shuffled"]["mean"] for one in found["relations"].values())
    middle = len(alike) // 2
    findings = [
        Finding(f"{name}: 3CosAdd right", found["correct"], n, "", MEASURED, low=low, high=high),
        Finding(f"{name}: question words allowed", found["correct_including_question_words"], n, "",
                MEASURED),
        Finding(f"{name}: 3CosMul right", found["methods"]["3CosMul"]["correct"], n, "", MEASURED),
        Finding(f"{name}: mean cosine of offsets, median of relations", alike[middle],
                f"{len(alike)} relations", f"dealt anew: {dealt[middle]:.2f}", MEASURED),
    ]  # fmt: skip
    if "ask" in found:
        said = found["ask"]
        findings.append(
            Finding(f"{name}: {_ASK}", said["answer"], f"{said['words']:,} words", "", MEASURED)
        )
    return findings


_WORDS = (
    "Offsets do answer analogies, and in a world whose log ratios are additive they answer all of "
    "them as soon as there is a dimension for every entity and attribute. Below that, accuracy falls "
    "with the parallelism of offsets, slowly: the axes that are lost first are the attribute's, and "
    "what is left of it in the entities' axes still answers most questions down to a few dimensions. "
    "Dimensions above A + E hold the noise of counts: the custom of not allowing the question's own "
    "words hides that completely. Real word vectors answer far fewer questions when those words are "
    "allowed (queen comes after king itself). Their offsets are much more alike than chance and far "
    "from parallel, so that a relation "
    "is a direction and a remainder. One added axis that marks the second words mends most mistakes; "
    "the mistakes that it leaves at any gain confuse second words with each other, and no axis of the "
    "relation could mend them."
)
_MODEL_WORDS = (
    "An encoder's embedding answers three quarters of the questions that it covers, its residual "
    "stream more than 60 % of all questions at each of three depths, and both a tenth or less where "
    "question words are allowed; the embedding says kings for queen."
)
_METHOD = """\
*Asking.* Vectors have length one; a is to b as c is to x. 3CosAdd: the largest `cos(x, b - a + c)`;
3CosMul: the largest `s(x, b) s(x, c) / (s(x, a) + 0.001)`, `s = (1 + cos) / 2`; PairDirection: the
largest `cos(x - c, b - a)`. Without and with a, b and c as answers. Intervals: bootstrap over first
pairs (a, b).

*Relations.* The mean cosine of the offsets `b - a` of two different pairs, beside that of the same
words dealt anew (b's in a random cycle, 99 deals); the share of energy that one axis chosen on other
pairs holds.

*The axis a relation would need.* Give every word one more coordinate `t`. With words of length one and
`q = b_i - a_i + a_j`, a word x that is nearer to q than `b_j` has `c(x) = 2 q·(x - b_j) > 0`, and is
pushed away by `(t(b_j) - t(x))²`. **Binary** (`t = g` on second words, else 0): the smallest gain
without mistakes outside the second words is `g² = max(0, max 2 q·(x - b_j))` over all pairs i ≠ j and
all words x that are no second word. **Graded** (`t(a_j) = h j`, `t(b_j) = g + h j`, else 0): spacing
`h = max √c(b_k) / |j - k|` and gain `g = max(√c(a_k) - h (j - k), √c(x) - h j)` make *every* question
exact: one dimension is always enough, but it then writes down which pair is which.

*The made world.* Every word is an entity with an attribute,
`log P(context | e, a) = common + 0.8 α_e + 0.25 β_a - log Z`, α and β standard normal over 1,000
contexts, a million contexts counted for each word; vectors are `U √S` of the truncated SVD of PMI.
"""


def _claim(findings: Sequence[Finding], words: str, compute: Compute) -> Claim:
    return Claim(
        "analogy", "Analogies are parallelograms",
        "king - man + woman lands near queen because a relation is one direction, the same for every "
        "pair; with fewer dimensions than entities and attributes together, both are lost together.",
        "Mikolov et al. 2013 (1301.3781, NAACL); Levy and Goldberg 2014 (CoNLL, NIPS); Ethayarajh, "
        "Duvenaud and Hirst 2019 (1810.04882); Linzen 2016 (1606.07736) on question words as answers.",
        _METHOD, findings, words,
        ["monosemy lab pages analogy --out docs/laboratory",
         "monosemy lab analogy --out analogy",
         f"monosemy lab analogy --vectors PATH/glove-50d-2445.txt --ask '{_ASK}'",
         "monosemy lab analogy --vectors PATH/glove-50d-2445.txt --questions PATH/questions-words.txt",
         "monosemy lab analogy --model PATH/minilm-l6 --questions PATH/questions-words.txt"],
        {"seeds": f"{compute.seed} to {compute.seed + SEEDS - 1}", "attributes": 4, "entities": 16},
    )  # fmt: skip
