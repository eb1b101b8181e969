"""Sources of concepts by name, or from a file."""

from __future__ import annotations

from pathlib import Path

from monosemy.data.concepts.english import english
from monosemy.data.concepts.own import read_concepts
from monosemy.data.concepts.python import PYTHON
from monosemy.data.concepts.sets import ConceptSource
from monosemy.data.concepts.spelling import SPELLING
from monosemy.foundation.errors import UserError, nearest

NAMES = ("python", "english", "spelling")


def open_concepts(name: str | Path, lists: str | Path | None = None) -> ConceptSource:
    """The concepts called `name`, or those of a JSONL file.

    Parameters
    ----------
    lists : a folder of lists for ``english``; see `english`.

    Errors
    ------
    `UserError` for an unknown name, with all known ones; for a file that holds none; and for `lists`
    with other concepts than English ones.
    """
    if lists is not None and str(name) != "english":
        raise UserError(f"lists = {str(lists)!r} are read for english only, not for {str(name)!r}")
    if str(name) == "python":
        return PYTHON
    if str(name) == "spelling":
        return SPELLING
    if str(name) == "english":
        return english(lists)
    if str(name).endswith(".jsonl"):
        return read_concepts(name)
    raise UserError(
        f"unknown concepts {str(name)!r}; known: {', '.join(NAMES)}, or FILE.jsonl"
        + nearest(str(name), NAMES)
    )
