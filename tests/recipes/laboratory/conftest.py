"""Models and texts that do not ship with the package, for tests that can do without them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from monosemy.recipes.laboratory.data_folder import VARIABLE


@pytest.fixture
def shared_data() -> Callable[[str], Path]:
    """Gives the path of a file in the data folder; skips where it is not there."""
    beside = Path(__file__).resolve().parents[4] / "shared" / "data"
    folder = Path(os.environ.get(VARIABLE) or beside)

    def find(relative: str) -> Path:
        if not (folder / relative).exists():
            pytest.skip(f"{relative} is not in the data folder; name one with {VARIABLE}")
        return folder / relative

    return find
