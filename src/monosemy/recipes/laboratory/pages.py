"""All pages of the laboratory, from all instruments: what ``monosemy lab pages`` makes."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path

from monosemy.foundation.errors import UserError, nearest
from monosemy.foundation.progress import SILENT, Progress
from monosemy.reports.laboratory import Picture, write, write_index
from monosemy.superposition.claims import Claim
from monosemy.tensors.compute import Compute

INSTRUMENTS: dict[str, str] = {
    "superposition": "superposition",
    "phases": "phases",
    "census": "census",
    "codes": "codes_page",
    "manifolds": "manifolds_page",
    "analogy": "analogy_page",
    "norms": "norms",
    "freedom": "freedom",
    "capacity": "capacity",
}
"""Page -> the module of this folder whose `examine` makes it, in the order of the index.

``examine(compute, progress)`` gives a `Claim` and its `Picture` s.
"""


def make_pages(
    folder: Path, only: Sequence[str] = (), compute: Compute | None = None,
    progress: Progress = SILENT,
) -> list[Claim]:  # fmt: skip
    """Write the pages (all, or those named `only`), their figures, and the index of all there are.

    Errors
    ------
    `UserError` for names that no instrument has.
    """
    unknown = [name for name in only if name not in INSTRUMENTS]
    if unknown:
        known = ", ".join(INSTRUMENTS)
        raise UserError(
            f"unknown page {unknown[0]!r}; known: {known}{nearest(unknown[0], INSTRUMENTS)}"
        )
    claims = []
    for name in only or INSTRUMENTS:
        claim, pictures = examine(name, compute or Compute(), progress)
        write(claim, pictures, folder)
        claims.append(claim)
    write_index(folder, list(INSTRUMENTS))
    return claims


def examine(
    name: str, compute: Compute, progress: Progress = SILENT
) -> tuple[Claim, Sequence[Picture]]:
    """What the instrument `name` found."""
    module = importlib.import_module(f"monosemy.recipes.laboratory.{INSTRUMENTS[name]}")
    found: tuple[Claim, Sequence[Picture]] = module.examine(compute, progress)
    return found
