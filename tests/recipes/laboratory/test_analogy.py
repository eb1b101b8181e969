"""Analogies from files, models and a made world."""

from __future__ import annotations

import pytest
import torch

from monosemy.data.vectors import WordVectors
from monosemy.foundation.errors import UserError
from monosemy.recipes.laboratory.analogy import (
    AnalogyConfig,
    examine_vectors,
    examine_world,
    len_questions,
    neighbours,
    parse,
    ranks_for,
)
from monosemy.superposition.cooccurrence import WorldOfWords, all_questions
from monosemy.tensors.compute import Compute

QUESTIONS = "analogies/questions-words.txt"


@pytest.mark.parametrize(
    "question",
    [
        "wife - husband + king",
        "wife-husband+king",
        "king + wife - husband",
        " wife + king - husband ",
    ],
)
def test_questions_are_parsed(question):
    a, b, c = parse(question)
    assert a == "husband"
    assert {b, c} == {"wife", "king"}


def test_hyphens_of_words_stay_where_there_are_spaces():
    assert parse("mother-in-law - mother + father") == ("mother", "mother-in-law", "father")


@pytest.mark.parametrize("question", ["king", "a + b", "a + b + c", "a - b - c"])
def test_other_questions_are_refused(question):
    with pytest.raises(UserError, match="wanted two words added and one taken away"):
        parse(question)


def test_what_goes_together():
    with pytest.raises(UserError, match=r"--vectors without a question.*add --questions"):
        AnalogyConfig(vectors="x.txt")
    with pytest.raises(UserError, match="has 2 problems"):
        AnalogyConfig(ask="a - b + c", site="blocks.0.hook_resid_post")
    with pytest.raises(UserError, match="--vectors and --model were given"):
        AnalogyConfig(vectors="x.txt", model="specimen", ask="a - b + c")


def test_neighbours_mark_the_words_of_the_question():
    eye = torch.eye(4)
    words = ("husband", "wife", "king", "queen")
    values = torch.stack([eye[0] + eye[2], eye[0] + eye[3], eye[1] + eye[2], eye[1] + eye[3]])
    found = neighbours(WordVectors("made", words, values), "wife - husband + king")
    assert found["answer"] == found["nearest"][0]["word"] == "queen"
    assert found["nearest"][0]["cosine"] == pytest.approx(1)
    assert {one["word"] for one in found["nearest"] if one["of_the_question"]} == {
        "husband", "wife", "king"}  # fmt: skip
    with pytest.raises(UserError, match="no vector for 'prince'"):
        neighbours(WordVectors("made", words, values), "prince - husband + king")


def test_glove_answers_as_counted(shared_data):
    config = AnalogyConfig(
        vectors=str(shared_data("vectors/glove-50d-2445.txt")),
        questions=str(shared_data(QUESTIONS)), ask="wife - husband + king",
    )  # fmt: skip
    found = examine_vectors(config, Compute())
    assert (found["covered"], found["correct"]) == (961, 646)
    assert found["correct_including_question_words"] < found["correct"]
    assert (
        found["sections"]["family"]["covered"],
        found["sections"]["family"]["3CosAdd"]["correct"],
    ) == (72, 62)
    assert found["ask"]["answer"] == "queen"
    family = found["relations"]["family"]
    assert family["consistency"] > family["shuffled"]["high"] + 0.2
    assert family["axis"]["right_with_graded"] == family["axis"]["questions"] == 72


def test_word2vec_answers_as_counted(shared_data):
    config = AnalogyConfig(
        vectors=str(shared_data("vectors/word2vec-300d-1000.npz")),
        questions=str(shared_data(QUESTIONS)),
    )  # fmt: skip
    found = examine_vectors(config, Compute())
    assert (found["covered"], found["correct"]) == (258, 219)
    assert found["sections"]["family"]["3CosAdd"]["correct"] == 81


def test_a_world_falls_together():
    world = WorldOfWords(attributes=3, entities=8, contexts=400)
    found = examine_world(world, Compute())
    assert found["at_enough"] >= 0.95 > 0.5 > found["below"]
    assert found["rank_correlation"] >= 0.9
    assert found["questions"] == len_questions(world) == len(all_questions(world))
    assert ranks_for(world)[-1] == world.words - 1
    assert examine_world(world, Compute()) == found
    assert examine_world(world, Compute(seed=1)) != found
