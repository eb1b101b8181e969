"""English concepts: word classes, sentences, and lists from a folder."""

import json

import pytest

from monosemy.data.concepts.english import english
from monosemy.data.documents import Document
from monosemy.foundation.errors import UserError

TEXT = 'The dog ran. "Stop now!" said Lily to her friend Lily in New York. It wasn\'t raining.'


def pieces(source, text, name):
    concepts = source.concepts
    number = concepts.number[name]
    found = source.marks(Document("made", text))
    return sorted({
        text[a:b] for a, b, kind in found
        if number in concepts.with_ancestors[concepts.number[kind]]
    })  # fmt: skip


def test_words_and_places_by_hand():
    source = english()
    wanted = {
        "word dog": ["dog"],
        "class animal": ["dog"],
        "class pronoun": ["It", "her"],
        "name": ["Lily", "New", "York"],
        "in quotation marks": ['"Stop now!"'],
        "first word of a sentence": ["It", "Stop", "The"],
        "last word of a sentence": ["York", "now", "raining", "ran"],
        "contraction": ["wasn't"],
        "ending -ing": ["raining"],
        "first sentence": ["The dog ran."],
    }
    for name, said in wanted.items():
        assert pieces(source, TEXT, name) == said, name


def test_lists_of_a_folder(tmp_path):
    (tmp_path / "names").mkdir()
    (tmp_path / "names" / "female.txt").write_text("Lily\nAnna\nEve\nIda\nZoe\n")
    samples = [{"subject": "New York", "object": f"country {i}"} for i in range(6)]
    cities = {"domain_name": "city", "range_name": "country"}
    relation = {"properties": cities, "samples": samples}
    (tmp_path / "relations.json").write_text(json.dumps({"r": relation}))
    source = english(tmp_path)
    assert pieces(source, TEXT, "list: female name") == ["Lily"]
    assert "list: country" in source.concepts.number
    assert "list: city" not in source.concepts.number, "one city is no list"


def test_a_folder_without_lists_and_odd_relations_are_refused(tmp_path):
    with pytest.raises(UserError, match="neither names"):
        english(tmp_path)
    (tmp_path / "relations.json").write_text('{"r": {"samples": []}}')
    with pytest.raises(UserError, match="wanted an object of relations"):
        english(tmp_path)


def test_real_lists(shared_data):
    source = english(shared_data / "probing")
    groups = [one for one in source.concepts.concepts if one.group == "list"]
    assert len(groups) > 20
    assert pieces(source, "He flew to Berlin, Germany.", "list: country") == ["Germany"]
