"""What Python's grammar says of source: definitions, calls, conditions, blocks, statements."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from monosemy.data.concepts.expressions import expression_marks
from monosemy.data.concepts.lexical import (
    NAME,
    STRING,
    Word,
    string_content_marks,
)
from monosemy.data.concepts.nodes import Nodes
from monosemy.data.concepts.python_words import FAMILIES
from monosemy.data.concepts.sets import Mark

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class _Around:
    """What a statement stands in."""

    blocks: int = 0
    loops: int = 0
    branches: int = 0
    functions: int = 0
    in_class: bool = False
    """Whether the innermost definition is a class."""
    defined: bool = False
    """Whether any function or class is around."""


def syntax_marks(tree: ast.Module, nodes: Nodes) -> Iterator[Mark]:
    """Marks that need the syntax tree."""
    docstrings = set[int]()
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from _docstring(node, nodes, docstrings)
    for word in nodes.words:
        if word.kind == STRING and word.start not in docstrings:
            yield from string_content_marks(word)
    if tree.body:
        yield 0, nodes.start(tree.body[0]), "block depth 0"
    yield from _statements(tree.body, _Around(), nodes)
    yield from expression_marks(tree, nodes)


def _docstring(
    node: ast.Module | ast.ClassDef | Function, nodes: Nodes, seen: set[int]
) -> Iterator[Mark]:
    first = node.body[0] if node.body else None
    if not (
        isinstance(first, ast.Expr)
        and isinstance(first.value, ast.Constant)
        and isinstance(first.value.value, str)
    ):
        return
    kind = {ast.Module: "module", ast.ClassDef: "class"}.get(type(node), "function")
    start, end = nodes.span(first.value)
    words = [word for word in nodes.between(start, end) if word.kind == STRING]
    seen.update(word.start for word in words)
    yield start, end, f"{kind} docstring"
    inner = nodes.text[start:end].lstrip("rRuU\"'")
    at = end - len(inner)
    at += len(inner) - len(inner.lstrip())
    stop = nodes.text.find("\n", at, end)
    if stop < 0:
        yield (
            at,
            max(at, end - (3 if nodes.text[end - 3 : end] in ('"""', "'''") else 1)),
            ("docstring first line"),
        )
        return
    yield at, stop, "docstring first line"
    yield stop, end, "docstring later lines"


# --- statements -----------------------------------------------------------------------------------


def _statements(body: Sequence[ast.stmt], around: _Around, nodes: Nodes) -> Iterator[Mark]:
    for node in body:
        start, end = nodes.whole(node)
        depth = min(around.blocks, 5)
        yield start, end, "block depth 5 or more" if depth == 5 else f"block depth {depth}"
        if not around.defined and not isinstance(
            node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        ):
            yield start, end, "outside functions and classes"
        first = nodes.word_at(nodes.start(node))
        if first is not None:
            yield first.start, first.end, "first word of a statement"
            following = nodes.after(first)
            if following is None or following.row != first.row:
                yield first.start, first.end, "only word of a line"
        yield from _simple(node, nodes)
        yield from _compound(node, around, nodes)


def _block(body: Sequence[ast.stmt], name: str, around: _Around, nodes: Nodes) -> Iterator[Mark]:
    if not body:
        return
    start, end = nodes.start(body[0]), nodes.end(body[-1])
    if name:
        yield start, end, name
    if around.loops >= 2 and name in ("in for", "in while"):
        yield start, end, "in a loop in a loop"
    if around.branches >= 2 and name in ("in if", "in else"):
        yield start, end, "in a branch in a branch"
    yield from _statements(body, around, nodes)


def _compound(node: ast.stmt, around: _Around, nodes: Nodes) -> Iterator[Mark]:
    deeper = replace(around, blocks=around.blocks + 1)
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        yield from _function(node, around, nodes)
    elif isinstance(node, ast.ClassDef):
        yield from _class(node, around, nodes)
    elif isinstance(node, (ast.For, ast.AsyncFor, ast.While)):
        name = "while" if isinstance(node, ast.While) else "for"
        inner = replace(deeper, loops=around.loops + 1)
        yield nodes.start(node), nodes.colon_before(node.body[0]), f"line of {name}"
        yield from _block(node.body, f"in {name}", inner, nodes)
        yield from _block(node.orelse, "", deeper, nodes)
    elif isinstance(node, ast.If):
        yield from _if(node, around, nodes)
    elif isinstance(node, (ast.With, ast.AsyncWith)):
        yield nodes.start(node), nodes.colon_before(node.body[0]), "line of with"
        yield from _block(node.body, "in with", deeper, nodes)
    elif isinstance(node, (ast.Try, ast.TryStar)):
        yield from _block(node.body, "in try", deeper, nodes)
        for handler in node.handlers:
            colon = nodes.colon_before(handler.body[0])
            yield nodes.start(handler), colon, "line of except"
            yield from _block(handler.body, "in except", deeper, nodes)
        yield from _block(node.orelse, "", deeper, nodes)
        yield from _block(node.finalbody, "in finally", deeper, nodes)
    elif isinstance(node, ast.Match):
        for case in node.cases:
            yield from _block(case.body, "in match", deeper, nodes)


def _if(node: ast.If, around: _Around, nodes: Nodes) -> Iterator[Mark]:
    inner = replace(around, blocks=around.blocks + 1, branches=around.branches + 1)
    start = nodes.start(node)
    keyword = nodes.text[start : start + 4]
    name = "line of elif" if keyword == "elif" else "line of if"
    yield start, nodes.colon_before(node.body[0]), name
    if _is_main(node.test):
        yield nodes.start(node.body[0]), nodes.end(node.body[-1]), "in if __main__"
    yield from _block(node.body, "in if", inner, nodes)
    other = node.orelse
    if len(other) == 1 and isinstance(other[0], ast.If):
        at = nodes.start(other[0])
        if nodes.text[at : at + 4] == "elif":
            yield from _if(other[0], around, nodes)
            return
    yield from _block(other, "in else", inner, nodes)


def _is_main(test: ast.expr) -> bool:
    return (
        isinstance(test, ast.Compare)
        and isinstance(test.left, ast.Name)
        and test.left.id == "__name__"
    )


# --- definitions ----------------------------------------------------------------------------------


def _function(node: Function, around: _Around, nodes: Nodes) -> Iterator[Mark]:
    start, end = nodes.span(node)
    method, nested = around.in_class, around.functions > 0 and not around.in_class
    dunder = node.name.startswith("__") and node.name.endswith("__") and len(node.name) > 4
    decorators = {_last_name(one) for one in node.decorator_list}
    is_property = "property" in decorators or "setter" in decorators
    asynchronous = isinstance(node, ast.AsyncFunctionDef)
    private = node.name.startswith("_") and not dunder
    facts = {
        "in a function": True,
        "in a method": method,
        "in __init__": method and node.name == "__init__",
        "in a dunder method": method and dunder,
        "in a property": method and is_property,
        "in a static or class method": method
        and bool(decorators & {"staticmethod", "classmethod"}),
        "in a private function": private,
        "in a test": node.name.startswith("test"),
        "in a generator": _yields(node),
        "in an async function": asynchronous,
        "in a nested function": nested,
        "in a decorated function": bool(decorators),
    }
    yield from ((start, end, name) for name, true in facts.items() if true)
    name = nodes.named(node)
    if name is not None:
        kinds = {
            "function name": True,
            "plain function name": not method,
            "method name": method,
            "dunder method name": method and dunder,
            "private function name": private,
            "test function name": node.name.startswith("test"),
            "property name": method and is_property,
            "async function name": asynchronous,
            "nested function name": nested,
        }
        yield from ((name.start, name.end, kind) for kind, true in kinds.items() if true)
        yield from _parameters(node.args, nodes)
        yield from _parameter_list(name, node, nodes)
    if node.returns is not None:
        yield *nodes.span(node.returns), "annotation of a result"
    yield start, nodes.colon_before(node.body[0]), "line of def"
    inner = _Around(around.blocks + 1, 0, 0, around.functions + 1, False, True)
    yield from _block(node.body, "", inner, nodes)


def _class(node: ast.ClassDef, around: _Around, nodes: Nodes) -> Iterator[Mark]:
    start, end = nodes.span(node)
    bases = [_last_name(base) for base in node.bases]
    facts = {
        "in a class": True,
        "in a nested class": around.defined,
        "in a test class": node.name.startswith("Test") or node.name.endswith(("Test", "Tests"))
        or "TestCase" in bases,
        "in an exception class": node.name.endswith(("Error", "Exception")),
    }  # fmt: skip
    yield from ((start, end, name) for name, true in facts.items() if true)
    name = nodes.named(node)
    if name is not None:
        yield name.start, name.end, "class name"
    for base in node.bases:
        yield *nodes.span(base), "base class"
    yield start, nodes.colon_before(node.body[0]), "line of class"
    for inner in node.body:
        if not isinstance(inner, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield *nodes.whole(inner), "in the body of a class"
    deeper = _Around(around.blocks + 1, 0, 0, around.functions, True, True)
    yield from _block(node.body, "", deeper, nodes)


def _parameters(given: ast.arguments, nodes: Nodes) -> Iterator[Mark]:
    plain = [*given.posonlyargs, *given.args]
    for number, one in enumerate([*plain, *given.kwonlyargs, given.vararg, given.kwarg]):
        if one is None:
            continue
        start = nodes.start(one)
        kind = (
            "starred parameter" if one in (given.vararg, given.kwarg)
            else "keyword-only parameter" if one in given.kwonlyargs
            else "first parameter" if number == 0 else "parameter"
        )  # fmt: skip
        yield start, start + len(one.arg), kind
        if one.annotation is not None:
            yield *nodes.span(one.annotation), "annotation of a parameter"
    for default in (*given.defaults, *given.kw_defaults):
        if default is not None:
            yield *nodes.span(default), "default value"


def _parameter_list(name: Word, node: Function, nodes: Nodes) -> Iterator[Mark]:
    opening = nodes.after(name)
    if opening is None or opening.text != "(":
        return
    depth = 0
    for word in nodes.between(opening.start, nodes.start(node.body[0])):
        depth += (word.text in ("(", "[", "{")) - (word.text in (")", "]", "}"))
        if not depth:
            yield opening.end, word.start, "parameter list"
            return


def _last_name(node: ast.expr) -> str:
    node = node.func if isinstance(node, ast.Call) else node
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _yields(node: Function) -> bool:
    """Whether the function itself, not one inside it, yields."""
    waiting: list[ast.AST] = list(node.body)
    while waiting:
        one = waiting.pop()
        if isinstance(one, (ast.Yield, ast.YieldFrom)):
            return True
        if not isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)):
            waiting += ast.iter_child_nodes(one)
    return False


# --- simple statements ----------------------------------------------------------------------------

_STATEMENTS = {
    ast.Return: "return statement",
    ast.Raise: "raise statement",
    ast.Assert: "assert statement",
    ast.Delete: "del statement",
    ast.Pass: "pass statement",
    ast.Break: "break or continue",
    ast.Continue: "break or continue",
    ast.Global: "global or nonlocal",
    ast.Nonlocal: "global or nonlocal",
    ast.AugAssign: "augmented assignment statement",
    ast.AnnAssign: "annotated assignment",
}
_SIMPLE = (*_STATEMENTS, ast.Expr, ast.Assign, ast.Import, ast.ImportFrom)


def _simple(node: ast.stmt, nodes: Nodes) -> Iterator[Mark]:
    if not isinstance(node, _SIMPLE):
        return
    start, end = nodes.span(node)
    one = node.lineno == node.end_lineno
    yield start, end, "statement of one line" if one else "statement of several lines"
    names = [_STATEMENTS[type(node)]] if type(node) in _STATEMENTS else []
    if isinstance(node, ast.Expr):
        names.append(
            "call statement" if isinstance(node.value, ast.Call) else "expression statement"
        )
    elif isinstance(node, ast.Return):
        names += [name for kind, name in ((ast.Call, "return of a call"),
                  (ast.Constant, "return of a constant")) if isinstance(node.value, kind)]  # fmt: skip
    elif isinstance(node, ast.Raise):
        names += ["raise of a call"] if isinstance(node.exc, ast.Call) else []
    elif isinstance(node, ast.Assign):
        names += _assignment(node)
    yield from ((start, end, name) for name in names)
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        yield from _import(node, start, end, nodes)


def _assignment(node: ast.Assign) -> list[str]:
    target = node.targets[0]
    of_self = (
        isinstance(target, ast.Attribute)
        and isinstance(target.value, ast.Name)
        and target.value.id == "self"
    )
    facts = {
        "assignment": True,
        "assignment of a call": isinstance(node.value, ast.Call),
        "assignment of a constant": isinstance(node.value, ast.Constant),
        "assignment to an attribute": isinstance(target, ast.Attribute),
        "assignment to self": of_self,
        "assignment to a subscript": isinstance(target, ast.Subscript),
        "assignment of several": len(node.targets) > 1 or isinstance(target, (ast.Tuple, ast.List)),
    }
    return [name for name, true in facts.items() if true]


def _import(
    node: ast.Import | ast.ImportFrom, start: int, end: int, nodes: Nodes
) -> Iterator[Mark]:
    source = node if isinstance(node, ast.ImportFrom) else None
    yield start, end, "import from" if source else "plain import"
    if source and source.level:
        yield start, end, "relative import"
    if node.col_offset:
        yield start, end, "import inside a function"
    for alias in node.names:
        at = nodes.start(alias)
        if source:
            yield at, at + len(alias.name), "imported name"
        else:
            yield from _module(at, alias.name)
        if alias.asname:
            stop = nodes.end(alias)
            yield stop - len(alias.asname), stop, "alias"
    if source and source.module:
        first = next(
            (w for w in nodes.between(start, end) if w.kind == NAME and w.text != "from"), None
        )
        if first is not None and nodes.text.startswith(source.module, first.start):
            yield from _module(first.start, source.module)


def _module(start: int, name: str) -> Iterator[Mark]:
    kind = f"imported module {name}" if name in FAMILIES["imported module"] else "imported module"
    yield start, start + len(name), kind
