"""Concepts by name."""

import pytest

from monosemy.data.concepts.catalogue import NAMES, open_concepts
from monosemy.foundation.errors import UserError


def test_every_name_opens():
    assert [open_concepts(name).name for name in NAMES] == list(NAMES)
    for name in NAMES:
        concepts = open_concepts(name).concepts
        assert len(concepts) > 50
        assert all(one.about and one.group for one in concepts.concepts)


def test_mistakes_are_told(tmp_path):
    with pytest.raises(UserError, match="did you mean 'python'"):
        open_concepts("pyhton")
    with pytest.raises(UserError, match="read for english only"):
        open_concepts("python", tmp_path)
    with pytest.raises(UserError, match="cannot be read"):
        open_concepts(tmp_path / "none.jsonl")
