"""Hierarchies by name."""

import pytest

from monosemy.data.documents import Document
from monosemy.data.labels.hierarchies import HIERARCHIES, open_hierarchy
from monosemy.foundation.errors import UserError


def test_every_name_opens_what_it_says():
    text = "def a():\n    return the_cat\n"
    for name in HIERARCHIES:
        found = open_hierarchy(name)
        assert found.name == name
        assert found.spans(Document("x.py", text))


def test_a_file_is_opened(tmp_path):
    path = tmp_path / "own.jsonl"
    path.write_text('{"document": "a", "start": 0, "end": 2, "parent": "p"}\n')
    assert open_hierarchy(path).name == "own"


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(UserError) as caught:
        open_hierarchy("leters")
    assert str(caught.value) == (
        "unknown hierarchy 'leters'; known: python, python-brackets, words, letters, or FILE.jsonl; "
        "did you mean 'letters'?"
    )
