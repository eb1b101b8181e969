"""Concepts of small pieces of Python, said by hand."""

import pytest

from monosemy.data.concepts.python import PYTHON, python_marks
from monosemy.data.documents import Document

SOURCE = '''"""First line.

More.
"""
import os.path as p
from re import match


class Box(Base):
    @property
    def size(self, *, deep: int = 0) -> int:
        """Doc."""
        for i in range(3):  # TODO: less
            while self.x[i] is not None:
                yield f"{{a}} {i + 1} b"
        return -1
'''


def pieces(text, name):
    """The united pieces of text that have a concept, its kinds included."""
    concepts = PYTHON.concepts
    number = concepts.number[name]
    found = python_marks(Document("made", text))
    assert found is not None
    held = set()
    for start, end, kind in found:
        if number in concepts.with_ancestors[concepts.number[kind]]:
            held |= set(range(start, end))
    parts, last = [], None
    for at in sorted(held):
        if last is None or at > last + 1:
            parts.append("")
        parts[-1] += text[at]
        last = at
    return parts


EXPECTED = {
    "module docstring": [SOURCE[: SOURCE.index("import")].rstrip()],
    "docstring first line": ["First line.", "Doc."],
    "function docstring": ['"""Doc."""'],
    "string that is no docstring": ['f"{{a}} {i + 1} b"'],
    "f-string expression": ["{i + 1}"],
    "f-string text": ["{{a}} ", " b"],
    "comment that notes": ["# TODO: less"],
    "comment behind code": ["# TODO: less"],
    "keyword yield": ["yield"],
    "keyword of imports": ["import", "as", "from", "import"],
    "imported module": ["os.path", "re"],
    "imported name": ["match"],
    "alias": ["p"],
    "class name": ["Box"],
    "base class": ["Base"],
    "decorator": ["@property"],
    "method name": ["size"],
    "property name": ["size"],
    "plain function name": [],
    "first parameter": ["self"],
    "keyword-only parameter": ["deep"],
    "default value": ["0"],
    "annotation of a parameter": ["int"],
    "annotation of a result": ["int"],
    "parameter list": ["self, *, deep: int = 0"],
    "loop variable": ["i"],
    "what for goes over": ["range(3)"],
    "condition of while": ["self.x[i] is not None"],
    "test for None": ["self.x[i] is not None"],
    "attribute of self": ["x"],
    "subscript": ["i"],
    "builtin range": ["range"],
    "first argument": ["3"],
    "in a loop in a loop": ['yield f"{{a}} {i + 1} b"'],
    "in a generator": [SOURCE[SOURCE.index("def size") :].rstrip()],
    "expression of return": ["-1"],
    "sign of a number": ["-"],
    "binary minus": [],
    "star that unpacks": ["*"],
    "star that multiplies": [],
    "return of a constant": [],  # -1 is an expression
    "in (": ["self, *, deep: int = 0", "3", "Base"],
    "bracket depth 2": [],
    "line of def": ["def size(self, *, deep: int = 0) -> int:"],
    "indentation 4": ["    ", "    "],
}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_module_by_hand(name):
    assert sorted(pieces(SOURCE, name)) == sorted(EXPECTED[name])


@pytest.mark.parametrize(
    ("text", "name", "wanted"),
    [
        ("x = {'a': [1, (2)]}", "in {", ["'a': [", "]"]),
        ("f(a, b, *c, k=d)", "second argument", ["b"]),
        ("f(a, b, *c, k=d)", "name of a keyword argument", ["k"]),
        ("f(a, b, *c, k=d)", "starred argument", ["*c"]),
        ("a.b.c()", "attribute that is called", ["c"]),
        ("a.b.c()", "chain of attributes", ["a.b.c"]),
        ("if a:\n  b\nelif c:\n  d\nelse:\n  e", "in else", ["e"]),
        ("if a:\n  b\nelif c:\n  d\nelse:\n  e", "line of elif", ["elif c:"]),
        ("é = 'ü'; y = z", "name that is read", ["z"]),
        ("try:\n  a\nexcept E as e:\n  b\nfinally:\n  c", "in except", ["b"]),
        ("try:\n  a\nexcept E as e:\n  b\nfinally:\n  c", "caught exception", ["E"]),
        ("[a for a in b if not c]", "comprehension variable", ["a"]),
        ("lambda q: q + 1", "body of a lambda", ["q + 1"]),
        ("x[1:2]", "slice", ["1:2"]),
        ("x = 0x1F + 2.5", "hexadecimal", ["0x1F"]),
        ("'%s' % x", "percent of a string", ["'%s' % x"]),
        ("a = b\n\n\nc", "blank line", ["\n\n"]),
        ("a = f(\n  b)", "line that goes on", ["  b)"]),
        ("def f():\n  def g(): pass", "nested function name", ["g"]),
        ("async def f(): await g", "async function name", ["f"]),
        ("if __name__ == '__main__': go()", "in if __main__", ["go()"]),
    ],
)
def test_pieces_by_hand(text, name, wanted):
    assert pieces(text, name) == wanted


def test_what_does_not_parse_is_of_another_kind():
    assert python_marks(Document("made", "once upon a time")) is None
    assert python_marks(Document("made", "x = 1")) is not None


def test_every_mark_is_a_concept_and_inside_its_text():
    for start, end, name in python_marks(Document("made", SOURCE)):
        assert name in PYTHON.concepts.number
        assert 0 <= start <= end <= len(SOURCE), name


def test_there_are_several_hundred_concepts_with_parents():
    assert len(PYTHON.concepts) >= 400
    assert sum(bool(one.parents) for one in PYTHON.concepts.concepts) > 300
