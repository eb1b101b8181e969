"""Concepts of Python source, exact by Python's own tokenizer and grammar."""

from __future__ import annotations

import ast
import tokenize
import warnings

from monosemy.data.concepts.lexical import lexical_marks, words_of
from monosemy.data.concepts.lines import Lines
from monosemy.data.concepts.nodes import Nodes
from monosemy.data.concepts.python_set import python_concepts
from monosemy.data.concepts.sets import ConceptSource, Mark
from monosemy.data.concepts.syntax import syntax_marks
from monosemy.data.documents import Document


def python_marks(document: Document) -> list[Mark] | None:
    """All marks of a document, or `None` where it is no Python that this Python can parse."""
    text = document.text
    lines = Lines(text)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd escapes in other people's strings
            tree = ast.parse(text)
        words = words_of(text, lines)
    except (SyntaxError, ValueError, RecursionError, MemoryError, tokenize.TokenError):
        return None
    nodes = Nodes(text, lines, words)
    return [*lexical_marks(lines, words), *syntax_marks(tree, nodes)]


PYTHON = ConceptSource(
    "python",
    "what tokens of Python source are and stand in, by its own tokenizer and grammar",
    python_concepts(),
    python_marks,
)
