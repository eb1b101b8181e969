"""Labels from a file: what is read, and what is refused."""

import json

import pytest

from monosemy.data.documents import Document
from monosemy.data.labels.own import read_hierarchy
from monosemy.data.labels.spans import FIRST, LAST, Span
from monosemy.foundation.errors import UserError


def written(tmp_path, *lines):
    path = tmp_path / "mine.jsonl"
    text = "\n".join(one if isinstance(one, str) else json.dumps(one) for one in lines)
    path.write_text(text, encoding="utf-8")
    return path


def span(start=0, end=3, parent="p", **more):
    return {"document": "a", "start": start, "end": end, "parent": parent, **more}


def test_spans_are_read_in_order(tmp_path):
    path = written(tmp_path, span(4, 6, child="x", token="last"), "", span())
    found = read_hierarchy(path)
    assert (found.name, found.rest) == ("mine", True)
    wanted = [Span(0, 3, "p", "", FIRST), Span(4, 6, "p", "x", LAST)]
    assert found.spans(Document("a", "abc de")) == wanted
    assert found.spans(Document("b", "abc de")) is None


def test_examples_of_what_no_label_means_take_the_place_of_the_rest(tmp_path):
    assert not read_hierarchy(written(tmp_path, span(), span(4, 5, parent=None))).rest


REFUSED = {
    "no JSON": (["{"], "line 1: wanted a JSON object, got '{'"),
    "no object": (["[1]"], "line 1: wanted a JSON object, got '[1]'"),
    "key": ([span(chld="x")], "line 1: unknown key 'chld'; did you mean 'child'?"),
    "parent": ([span(parent=3)], "line 1: 'parent' is 3; wanted a string"),
    "numbers": ([span(start="0")], "line 1: characters '0' to 3; wanted two whole numbers"),
    "order": ([span(3, 3)], "line 1: characters 3 to 3; wanted 0 <= start < end"),
    "token": ([span(token="middle")], "line 1: 'token' is 'middle'; known: first, last"),
    "overlap": (
        [span(), span(2, 5, "q")],
        "in 'a', characters 0-3 (p) and 2-5 (q) overlap; put them into two files",
    ),
    "nothing": ([""], "holds no span; wanted one JSON object a line"),
}


@pytest.mark.parametrize(("lines", "message"), REFUSED.values(), ids=REFUSED)
def test_mistakes_are_told_with_their_line(tmp_path, lines, message):
    with pytest.raises(UserError) as caught:
        read_hierarchy(written(tmp_path, *lines))
    assert message in str(caught.value)
    assert "mine.jsonl" in str(caught.value)


def test_all_mistakes_are_told_at_once_but_not_thousands(tmp_path):
    with pytest.raises(UserError) as caught:
        read_hierarchy(written(tmp_path, {}, *[span(5, 2)] * 20))
    said = str(caught.value)
    for reason in (
        "no 'document'",
        "no 'parent'",
        "characters None to None",
        "line 2: characters 5",
    ):
        assert reason in said
    assert "and 17 more" in said


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UserError, match="cannot be read: No such file"):
        read_hierarchy(tmp_path / "none.jsonl")
