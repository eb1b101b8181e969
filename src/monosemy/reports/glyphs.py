"""Tokens as they are shown on one line: line ends, tabs and lone spaces made visible."""

from __future__ import annotations

import re
import unicodedata

_SIGNS = {"\n": "⏎", "\t": "⇥", "\r": "␍"}
_LONG_RUN = re.compile(" {4,}")


def visible(token: str, marked: bool = False) -> str:
    """`token` as a part of one line.

    Line ends and tabs become signs; other control characters, and those that change the direction
    of the text around them, become ``\\x1b`` and the like. Indentation of more than three spaces is
    shortened to three. A marked token that is nothing but spaces shows them as dots, or it could
    not be seen.

    >>> visible("a\\n      b")
    'a⏎   b'
    >>> visible("  ", marked=True)
    '··'
    """
    text = "".join(_SIGNS.get(letter) or _safe(letter) for letter in token)
    text = _LONG_RUN.sub("   ", text)
    return "·" * len(text) if marked and text and not text.strip(" ") else text


def _safe(letter: str) -> str:
    # Cc: controls, which could drive a terminal; Cf: among others, marks of direction.
    if unicodedata.category(letter) not in ("Cc", "Cf", "Cs", "Co", "Cn"):
        return letter
    return (
        letter.encode("ascii", "backslashreplace").decode()
        if ord(letter) > 127
        else (f"\\x{ord(letter):02x}")
    )


def quoted(token: str) -> str:
    """`token` standing alone: spaces at its ends as ``␣``, so that " the" and "the" differ.

    >>> quoted(" the")
    '␣the'
    >>> quoted("\\n        ")
    '⏎␣×8'
    """
    body = token.strip(" ")
    left = len(token) - len(token.lstrip(" "))
    right = len(token.rstrip(" ")) - len(token) if body else 0
    return _run(left) + visible(body) + _run(-right)


def _run(spaces: int) -> str:
    # Indentation of code comes as tokens of many spaces.
    return "␣" * spaces if spaces <= 3 else f"␣×{spaces}"
