"""Rows and columns as Python counts them."""

import ast
import io
import tokenize

from monosemy.data.concepts.lines import Lines

TEXT = "x = 'é'; y = 1\r\n\fz = 2\rw\n\nlast"


def test_columns_in_characters_and_in_bytes():
    lines = Lines(TEXT)
    assert len(lines) == 5
    assert [lines.start(row) for row in (1, 2, 5, 6)] == [0, 16, 26, 30]
    for one in tokenize.generate_tokens(io.StringIO(TEXT, newline="").readline):
        if one.type == tokenize.NAME:
            assert TEXT[lines.at(*one.start) : lines.at(*one.end)] == one.string
    names = [node for node in ast.walk(ast.parse(TEXT)) if isinstance(node, ast.Name)]
    assert [node.id for node in names] == [
        TEXT[lines.at_byte(node.lineno, node.col_offset) :][: len(node.id)] for node in names
    ]
    assert lines.at_byte(9, 4) == len(TEXT)
