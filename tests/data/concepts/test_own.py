"""Concepts from a file."""

import pytest

from monosemy.data.concepts.own import read_concepts
from monosemy.data.documents import Document
from monosemy.foundation.errors import UserError


def test_marks_and_declarations(tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text(
        '{"concept": "animal", "group": "life"}\n'
        '{"concept": "cat", "parents": ["animal"], "token": "last"}\n\n'
        '{"document": "a.txt", "start": 2, "end": 5, "concept": "cat"}\n'
        '{"document": "a.txt", "start": 0, "end": 1, "concept": "odd"}\n'
    )
    source = read_concepts(path)
    assert source.concepts.names == ("animal", "cat", "odd")
    assert source.concepts.with_ancestors[1] == (0, 1)
    assert source.marks(Document("a.txt", "")) == [(2, 5, "cat"), (0, 1, "odd")]
    assert source.marks(Document("b.txt", "")) is None


def test_every_mistake_is_told(tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text(
        'x\n[1]\n{"document": "a", "start": 3, "end": 3, "concept": "c"}\n{"concept": 3}\n'
        '{"document": "a", "strat": 1, "end": 3, "concept": "c"}\n{"concept": "c", "token": "no"}\n'
        '{"concept": "c", "parents": "d"}\n'
    )
    with pytest.raises(UserError) as said:
        read_concepts(path)
    for text in ("line 1 is no JSON", "line 2 is list", "wanted 0 <= start < end", "wanted a name",
                 "did you mean 'start'?", "known: every, last", "wanted a list of names"):  # fmt: skip
        assert text in str(said.value)


def test_a_missing_and_an_empty_file_are_refused(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        read_concepts(tmp_path / "none.jsonl")
    (tmp_path / "empty.jsonl").write_text('{"concept": "a"}\n')
    with pytest.raises(UserError, match="no mark in"):
        read_concepts(tmp_path / "empty.jsonl")
