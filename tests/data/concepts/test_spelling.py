"""How tokens are written, by hand."""

import pytest

from monosemy.data.concepts.spelling import SPELLING, spelled


def closed(text, begin, end):
    concepts = SPELLING.concepts
    return {
        concepts.names[above]
        for name in spelled(text, begin, end)
        for above in concepts.with_ancestors[concepts.number[name]]
    }


@pytest.mark.parametrize(
    ("text", "begin", "end", "wanted"),
    [
        ("the cat", 3, 7, {"space before", "length 3", "has a letter", "starts a word", "ends a word",
                           "whole word", "no capital", "first letter c", "last letter t"}),
        ("isinstance", 2, 10, {"length 8 or more", "has a letter", "continues a word", "ends a word",
                               "no capital", "first letter i", "last letter e"}),
        ("a HTTP", 2, 4, {"length 2", "has a letter", "starts a word", "breaks off in a word",
                          "has a capital", "all capitals", "first letter h", "last letter t"}),
        ("\n    x", 0, 5, {"all space", "several characters of space", "ends a line"}),
        ("x = 12", 3, 6, {"space before", "length 2", "has a digit", "all digits"}),
        ("a_b", 1, 2, {"length 1", "has punctuation", "all punctuation", "has an underscore"}),
        ("getName", 0, 7, {"length 7", "has a letter", "starts a word", "ends a word", "whole word",
                           "has a capital", "capital inside", "first letter g", "last letter e"}),
        ("é", 0, 1, {"not ASCII", "length 1", "has a letter", "starts a word", "ends a word",
                     "whole word", "no capital"}),
    ],
)  # fmt: skip
def test_by_hand(text, begin, end, wanted):
    assert closed(text, begin, end) == wanted
