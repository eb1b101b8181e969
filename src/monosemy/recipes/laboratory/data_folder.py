"""Models and texts that do not ship with the package: where pages of the laboratory look for them."""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "MONOSEMY_DATA"
_BESIDE = Path("..") / "shared" / "data"


def find(relative: str) -> Path | None:
    """The file or folder `relative` to the data folder, or `None` where it is not there.

    The data folder is the one that the environment variable ``MONOSEMY_DATA`` names, else
    ``../shared/data`` beside the current folder.
    """
    path = Path(os.environ.get(VARIABLE) or _BESIDE) / relative
    return path if path.exists() else None


def left_out(what: str, relative: str) -> str:
    """The line of a page that says what was not measured, and how it would be."""
    return (
        f"{what} left out: `{relative}` is not in the data folder (set `{VARIABLE}` to a folder that "
        "has it)."
    )
