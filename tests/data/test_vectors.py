"""Word vectors and questions: two forms of file, and what is wrong with others."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from monosemy.data.vectors import read_questions, read_vectors
from monosemy.foundation.errors import UserError

TEXT = "king 1 0 2\nqueen 1 1 2\nman 0 0 1\nwoman 0 1 1\nking 9 9 9\n"


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "vectors.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


def test_text_with_and_without_a_head_and_npz_say_the_same(text, tmp_path):
    plain = read_vectors(text)
    headed = tmp_path / "headed.txt"
    headed.write_text("5 3\n" + TEXT, encoding="utf-8")
    packed = tmp_path / "packed.npz"
    np.savez(packed, words=np.array(plain.words), vectors=plain.values.numpy())
    for other in (read_vectors(headed), read_vectors(packed)):
        assert other.words == plain.words == ("king", "queen", "man", "woman")
        assert torch.equal(other.values, plain.values)
    assert plain.values[0].tolist() == [1, 0, 2]  # the first of two kings
    assert plain.unit.norm(dim=1).allclose(torch.ones(4))


def test_a_word_is_found_in_small_letters(text):
    vectors = read_vectors(text)
    assert vectors.place("King") == vectors.place("king") == 0
    assert vectors.place("prince") is None


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("king 1 2\nqueen 1\n", "line 2: 'queen 1'; wanted a word and 2 numbers"),
        ("king one two\n", "line 1: 'king one two'; wanted a word and numbers"),
        ("a 1\nb 2\n", "has 2 words; an analogy has four"),
        ("a 1\nb 2\nc nan\nd 4\n", "not finite"),
    ],
)
def test_other_text_is_refused(written, said, tmp_path):
    path = tmp_path / "wrong.txt"
    path.write_text(written, encoding="utf-8")
    with pytest.raises(UserError, match=said):
        read_vectors(path)


def test_other_archives_are_refused(tmp_path):
    path = tmp_path / "wrong.npz"
    np.savez(path, other=np.zeros(3))
    with pytest.raises(UserError, match="wanted arrays 'words' and 'vectors'"):
        read_vectors(path)
    path.write_bytes(b"no archive")
    with pytest.raises(UserError, match="holds no word vectors"):
        read_vectors(path)
    with pytest.raises(UserError, match="is no file"):
        read_vectors(tmp_path / "absent.txt")


def test_questions_are_covered_or_counted(text, tmp_path):
    path = tmp_path / "questions.txt"
    path.write_text(": family\nMan Woman King Queen\nking queen man woman\nking queen boy girl\n")
    found = read_questions(path, read_vectors(text))
    assert (len(found), found.asked, found.sections) == (2, 3, ("family",))
    assert found.rows.tolist() == [[2, 3, 0, 1], [0, 1, 2, 3]]
    assert found.pairs(0).tolist() == [[0, 1], [2, 3]]


def test_questions_of_another_form_are_refused(text, tmp_path):
    path, vectors = tmp_path / "questions.txt", read_vectors(text)
    path.write_text("king queen man\n")
    with pytest.raises(UserError, match="line 1: 'king queen man'; wanted four words"):
        read_questions(path, vectors)
    path.write_text("uncle aunt boy girl\n")
    with pytest.raises(UserError, match="covers none of the 1 questions"):
        read_questions(path, vectors)
    with pytest.raises(UserError, match="is no file"):
        read_questions(tmp_path / "absent.txt", vectors)
