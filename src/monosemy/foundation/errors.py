"""Errors that a person can act on.

Each names the thing, what came, what was wanted and what to do next.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Bad input: the message says what to change. The command line prints it and exits with 2."""

    exit_code = 2


class Interrupted(Exception):
    """Work stopped on request with its state saved; the message says how to go on."""

    exit_code = 130


def nearest(name: str, known: Iterable[str]) -> str:
    """`'; did you mean ...?'` with the closest known name, or an empty string.

    >>> nearest("lerning_rate", ["learning_rate", "k"])
    "; did you mean 'learning_rate'?"
    >>> nearest("zebra", ["learning_rate", "k"])
    ''
    """
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


def refuse(reasons: list[str], what: str) -> None:
    """Raise one `UserError` that lists every reason, or do nothing where there is none.

    Parameters
    ----------
    reasons : one sentence each; an empty list passes.
    what : what is refused, for the headline ("this recipe", "the run at ./x").
    """
    if not reasons:
        return
    if len(reasons) == 1:
        raise UserError(reasons[0])
    raise UserError(
        f"{what} has {len(reasons)} problems:\n" + "\n".join(f"  - {r}" for r in reasons)
    )
