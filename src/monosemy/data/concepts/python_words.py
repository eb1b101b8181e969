"""Words and signs of Python that are concepts of their own."""

from __future__ import annotations

import builtins

# kind -> words that are concepts of their own, with their parent.
KEYWORDS = {
    "keyword of definitions": "def class lambda",
    "keyword of branches": "if elif else",
    "keyword of loops": "for while break continue",
    "keyword of exceptions": "try except finally raise assert",
    "keyword of imports": "import from as",
    "keyword of logic": "and or not in is",
    "keyword of leaving": "return yield pass del",
    "keyword of scopes": "global nonlocal with async await",
    "constant": "True False None",
}  # fmt: skip
SIGNS = {
    "arithmetic": "+ - * / // % ** @",
    "comparison sign": "== != < > <= >=",
    "bitwise sign": "& | ^ ~ << >>",
    "assignment sign": "= :=",
    "augmented assignment": "+= -= *= /= //= %= **= @= &= |= ^= >>= <<=",
    "punctuation": ", : ; . -> ...",
    "opening bracket": "( [ {",
    "closing bracket": ") ] }",
}
# parent -> words of which each is a concept of its own, written in one line.
_FAMILIES = {
    "builtin": (
        "print len range str int isinstance type list dict set tuple getattr setattr hasattr super "
        "open bytes bool float repr object sorted zip map enumerate min max sum any all iter next "
        "property staticmethod classmethod callable id ord chr abs format vars"
    ),
    "exception name": (
        "Exception ValueError TypeError KeyError AttributeError IndexError RuntimeError OSError "
        "ImportError NotImplementedError StopIteration AssertionError KeyboardInterrupt UnicodeError"
    ),
    "dunder": (
        "__init__ __name__ __repr__ __eq__ __len__ __getitem__ __iter__ __class__ __dict__ __all__ "
        "__enter__ __exit__ __call__ __new__ __doc__ __file__ __hash__ __str__ __main__ __setitem__"
    ),
    "attribute": (
        "append join format get items keys values split strip startswith endswith read write close pop "
        "add update replace encode decode lower upper path group name insert extend remove sort copy "
        "find match search readline send wait start assertEqual assertTrue assertRaises assertIn"
    ),
    "imported module": (
        "os sys re io time warnings types functools collections itertools unittest test typing "
        "threading errno struct contextlib"
    ),
}
FAMILIES = {parent: tuple(words.split()) for parent, words in _FAMILIES.items()}

EXCEPTION_NAMES = frozenset(
    name
    for name, value in vars(builtins).items()
    if isinstance(value, type) and issubclass(value, BaseException)
)
# What only an interactive session has, and constants.
_NO_BUILTINS = {"Ellipsis", "NotImplemented", "copyright", "credits", "license", "exit", "quit"}
BUILTIN_NAMES = (
    frozenset(name for name in vars(builtins) if not name.startswith("_"))
    - EXCEPTION_NAMES - {"True", "False", "None"} - _NO_BUILTINS
)  # fmt: skip
