"""What the tokenizer says, and the parts of f-strings, which are cut by hand."""

import ast

import pytest

from monosemy.data.concepts.lexical import STRING, f_string_parts, lexical_marks, words_of
from monosemy.data.concepts.lines import Lines


@pytest.mark.parametrize(
    ("inside", "wanted"),
    [
        ("a {b} c", [("a ", False), ("{b}", True), (" c", False)]),
        ("{{a}}", [("{{a}}", False)]),
        ("{a['}']}{b!r:>{w}}", [("{a['}']}", True), ("{b!r:>{w}}", True)]),
        ("", []),
        ("{f({1: 2})}", [("{f({1: 2})}", True)]),
    ],
)
def test_parts_of_an_f_string(inside, wanted):
    assert [(inside[a:b], e) for a, b, e in f_string_parts(inside, 0, len(inside))] == wanted


def test_parts_are_as_many_as_the_grammar_says():
    for text in ('f"a{b}c{d!r}"', 'f"{x:{y}}z"', 'f"{{}}{a}"'):
        values = ast.parse(text).body[0].value.values
        inner = [e for _, _, e in f_string_parts(text, 2, len(text) - 1)]
        assert inner == [isinstance(one, ast.FormattedValue) for one in values]


def test_an_f_string_is_one_word():
    text = "x = f'a{b}c' + 'd'"
    words = words_of(text, Lines(text))
    assert [text[w.start : w.end] for w in words if w.kind == STRING] == ["f'a{b}c'", "'d'"]


def test_signs_by_what_stands_around_them():
    text = "a = -b - c\nd(*e, f=g * h)\nx[i:j]\nif k: pass\n"
    lines = Lines(text)
    found = {(start, name) for start, _, name in lexical_marks(lines, words_of(text, lines))}
    assert (4, "sign of a number") in found
    assert (7, "binary minus") in found
    assert (4, "binary minus") not in found
    assert (text.index("*e"), "star that unpacks") in found
    assert (text.index("* h"), "star that multiplies") in found
    assert (text.index("=g"), "= of an argument or default") in found
    assert (2, "= of a statement") in found
    assert (text.index(":j"), "colon of a slice or annotation") in found
    # A block on the same line: the colon does not end it, so nothing is said.
    assert (text.index(": pass"), "colon of a block") not in found
