"""What expressions and names of Python source are for."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator

from monosemy.data.concepts.nodes import Nodes
from monosemy.data.concepts.sets import Mark

_CALLED = ("print", "isinstance", "len", "super")
# statement -> its field, and what the expression there is
_PLACES: dict[type, tuple[tuple[str, str], ...]] = {
    ast.Return: (("value", "expression of return"),),
    ast.Raise: (("exc", "expression of raise"),),
    ast.Assert: (("test", "expression of assert"),),
    ast.Yield: (("value", "expression of yield"),),
    ast.YieldFrom: (("value", "expression of yield"),),
    ast.Await: (("value", "expression of await"),),
    ast.If: (("test", "condition of if"),),
    ast.While: (("test", "condition of while"),),
    ast.For: (("iter", "what for goes over"),),
    ast.AsyncFor: (("iter", "what for goes over"),),
    ast.withitem: (("context_expr", "context manager"),),
    ast.ExceptHandler: (("type", "caught exception"),),
    ast.Assign: (("value", "right side of ="),),
    ast.AnnAssign: (("value", "right side of ="), ("annotation", "annotation of a variable")),
    ast.AugAssign: (("value", "right side of augmented ="),),
    ast.Lambda: (("body", "body of a lambda"),),
}
_WHOLE = {
    ast.Lambda: "lambda",
    ast.IfExp: "conditional expression",
    ast.ListComp: "list comprehension",
    ast.SetComp: "set or dictionary comprehension",
    ast.DictComp: "set or dictionary comprehension",
    ast.GeneratorExp: "generator expression",
    ast.List: "list display",
    ast.Tuple: "tuple",
    ast.Set: "set display",
    ast.Dict: "dictionary display",
    ast.BoolOp: "boolean expression",
}
_OPERATORS: dict[type, str] = {
    ast.Add: "sum or difference", ast.Sub: "sum or difference",
    ast.Mult: "product or quotient", ast.Div: "product or quotient",
    ast.FloorDiv: "product or quotient", ast.Mod: "product or quotient",
    ast.Pow: "arithmetic expression", ast.MatMult: "arithmetic expression",
    ast.BitAnd: "bitwise expression", ast.BitOr: "bitwise expression",
    ast.BitXor: "bitwise expression", ast.LShift: "bitwise expression",
    ast.RShift: "bitwise expression",
}  # fmt: skip


def expression_marks(tree: ast.Module, nodes: Nodes) -> Iterator[Mark]:
    """Of every expression outside f-strings, whose places `ast` does not know before Python 3.12."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.JoinedStr):
            continue
        waiting += ast.iter_child_nodes(node)
        for field, name in _PLACES.get(type(node), ()):
            value = getattr(node, field)
            if value is not None:
                yield *nodes.span(value), name
        if type(node) in _WHOLE:
            yield *nodes.span(node), _WHOLE[type(node)]
        special = _SPECIAL.get(type(node))
        if special is not None:
            yield from special(node, nodes)


def _call(node: ast.Call, nodes: Nodes) -> Iterator[Mark]:
    span = nodes.span(node)
    yield *span, "call"
    func = node.func
    if isinstance(func, ast.Name):
        kind = "class that is called" if func.id[:1].isupper() else "function that is called"
        yield *nodes.span(func), kind
        if func.id in _CALLED:
            yield *span, f"call of {func.id}"
    elif isinstance(func, ast.Attribute):
        end = nodes.end(func)
        yield end - len(func.attr), end, "attribute that is called"
        yield *span, "call of a method"
        owner = func.value
        if isinstance(owner, ast.Name) and owner.id == "self":
            yield *span, "call of a method of self"
        if isinstance(owner, ast.Call) and getattr(owner.func, "id", "") == "super":
            yield *span, "call of a method of super"
    for number, one in enumerate(node.args):
        if isinstance(one, ast.Call):
            yield *nodes.span(one), "call in a call"
        if isinstance(one, ast.Starred):
            yield *nodes.span(one), "starred argument"
            continue
        name = ("first argument", "second argument", "third or later argument")[min(number, 2)]
        yield *nodes.span(one), name
    for keyword in node.keywords:
        start, end = nodes.span(keyword)
        if keyword.arg is None:
            yield start, end, "starred argument"
            continue
        yield start, end, "keyword argument"
        yield start, start + len(keyword.arg), "name of a keyword argument"
        yield *nodes.span(keyword.value), "value of a keyword argument"
        if isinstance(keyword.value, ast.Call):
            yield *nodes.span(keyword.value), "call in a call"


def _name(node: ast.Name, nodes: Nodes) -> Iterator[Mark]:
    stored = isinstance(node.ctx, ast.Store)
    yield *nodes.span(node), "name that is assigned" if stored else "name that is read"


def _attribute(node: ast.Attribute, nodes: Nodes) -> Iterator[Mark]:
    start, end = nodes.span(node)
    chain = isinstance(node.value, ast.Attribute)
    yield start, end, "chain of attributes" if chain else "attribute access"
    if isinstance(node.value, ast.Name) and node.value.id == "self":
        yield end - len(node.attr), end, "attribute of self"
    if isinstance(node.ctx, ast.Store):
        yield end - len(node.attr), end, "attribute that is assigned"


def _subscript(node: ast.Subscript, nodes: Nodes) -> Iterator[Mark]:
    span, inner = nodes.span(node.slice), node.slice
    name = "slice" if isinstance(inner, ast.Slice) else "subscript"
    if isinstance(inner, ast.Constant):
        name = {str: "string as subscript", int: "number as subscript"}.get(type(inner.value), name)
    yield *span, name


def _compare(node: ast.Compare, nodes: Nodes) -> Iterator[Mark]:
    span = nodes.span(node)
    kinds = {type(one) for one in node.ops}
    if kinds <= {ast.In, ast.NotIn}:
        yield *span, "membership test"
    elif kinds <= {ast.Is, ast.IsNot}:
        last = node.comparators[-1]
        none = isinstance(last, ast.Constant) and last.value is None
        yield *span, "test for None" if none else "identity test"
    else:
        yield *span, "comparison"


def _binary(node: ast.BinOp, nodes: Nodes) -> Iterator[Mark]:
    span = nodes.span(node)
    yield *span, _OPERATORS[type(node.op)]
    text = isinstance(node.left, ast.Constant) and isinstance(node.left.value, (str, bytes))
    if isinstance(node.op, ast.Mod) and text:
        yield *span, "percent of a string"


def _dictionary(node: ast.Dict, nodes: Nodes) -> Iterator[Mark]:
    for key, value in zip(node.keys, node.values, strict=True):
        yield *nodes.span(value), "value in a dictionary"
        if key is None:
            continue
        yield *nodes.span(key), "key in a dictionary"
        if isinstance(key, ast.Constant) and isinstance(key.value, str):
            yield *nodes.span(key), "dictionary key in quotes"


def _unary(node: ast.UnaryOp, nodes: Nodes) -> Iterator[Mark]:
    if isinstance(node.op, ast.Not):
        yield *nodes.span(node), "negation"


def _assigned(node: ast.Assign, nodes: Nodes) -> Iterator[Mark]:
    for target in node.targets:
        yield *nodes.span(target), "left side of ="


def _deleted(node: ast.Delete, nodes: Nodes) -> Iterator[Mark]:
    for target in node.targets:
        yield *nodes.span(target), "expression of del"


def _targets(node: ast.AST, name: str, nodes: Nodes) -> Iterator[Mark]:
    for one in ast.walk(node):
        if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store):
            yield *nodes.span(one), name


def _loop(node: ast.For | ast.AsyncFor, nodes: Nodes) -> Iterator[Mark]:
    yield from _targets(node.target, "loop variable", nodes)


def _comprehension(node: ast.comprehension, nodes: Nodes) -> Iterator[Mark]:
    yield from _targets(node.target, "comprehension variable", nodes)


def _with(node: ast.withitem, nodes: Nodes) -> Iterator[Mark]:
    if node.optional_vars is not None:
        yield from _targets(node.optional_vars, "with variable", nodes)


def _lambda(node: ast.Lambda, nodes: Nodes) -> Iterator[Mark]:
    given = node.args
    for one in (*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg):
        if one is not None:
            start = nodes.start(one)
            yield start, start + len(one.arg), "lambda parameter"


def _decorated(
    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef, nodes: Nodes
) -> Iterator[Mark]:
    for one in node.decorator_list:
        start, end = nodes.span(one)
        sign = nodes.before(start)
        yield (sign.start if sign is not None and sign.text == "@" else start), end, "decorator"


_SPECIAL: dict[type, Callable[..., Iterator[Mark]]] = {
    ast.Call: _call,
    ast.Name: _name,
    ast.Attribute: _attribute,
    ast.Subscript: _subscript,
    ast.Compare: _compare,
    ast.BinOp: _binary,
    ast.Dict: _dictionary,
    ast.UnaryOp: _unary,
    ast.Assign: _assigned,
    ast.Delete: _deleted,
    ast.For: _loop,
    ast.AsyncFor: _loop,
    ast.comprehension: _comprehension,
    ast.withitem: _with,
    ast.Lambda: _lambda,
    ast.FunctionDef: _decorated,
    ast.AsyncFunctionDef: _decorated,
    ast.ClassDef: _decorated,
}
