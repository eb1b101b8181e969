"""Lexical classes of Python source, and brackets."""

from monosemy.data.documents import Document
from monosemy.data.labels.python import brackets, lexical

SOURCE = '''def f(x: int):
    """Says."""
    if x is not None:  # why
        return [len(x.len), 0x1F, 2.5, __name__]
    raise ValueError(f"no {x!r}" + 'a')
'''


def pieces(find, text):
    return [(text[s.start : s.end], s.parent, s.child) for s in find(Document("x.py", text))]


def test_every_class_is_found_where_it_stands():
    found = pieces(lexical, SOURCE)
    for one in (
        ("def", "keyword", "def"), ("f", None, "f"), ("(", "bracket", "("), ("int", "builtin", "int"),
        (":", "punctuation", ":"), ('"""Says."""', "string", "triple"), ("is", "keyword", "is"),
        ("None", "constant", "None"), ("# why", "comment", "comment"),
        ("0x1F", "number", "hexadecimal"), ("2.5", "number", "float"),
        ("__name__", "dunder", "__name__"),
        ("ValueError", "exception", "ValueError"), ("+", "operator", "+"), ("'a'", "string", "'"),
    ):  # fmt: skip
        assert one in found, one


def test_an_attribute_is_not_the_builtin_of_that_name():
    named = [parent for text, parent, _ in pieces(lexical, SOURCE) if text == "len"]
    assert named == ["builtin", None]


def test_spans_are_apart_and_in_order():
    for find in (lexical, brackets):
        spans = find(Document("x.py", SOURCE))
        assert all(one.end <= two.start for one, two in zip(spans, spans[1:], strict=False))


def test_brackets_tell_the_innermost_and_the_depth():
    text = "f(a, [b, {c: (d)}])\ne\n"
    where = {piece: (parent, child) for piece, parent, child in pieces(brackets, text)}
    assert where["a"] == ("in ()", "depth 1")
    assert where["b"] == ("in []", "depth 2")
    assert where["c"] == ("in {}", "depth 3")
    assert where["d"] == ("in ()", "depth 4")
    assert where["e"] == (None, "")


def test_places_are_right_after_odd_line_ends_and_letters():
    text = "# naïve 🙂\r\nx = 'é'\x0c\r\nif x:\r\n  pass\r\n"
    assert ("if", "keyword", "if") in pieces(lexical, text)
    assert ("'é'", "string", "'") in pieces(lexical, text)


def test_prose_is_another_kind_of_document():
    for text in ("This is no Python, isn't it?", "def f(:\n", "x = '\n", "\0"):
        assert lexical(Document("x", text)) is None
        assert brackets(Document("x", text)) is None
