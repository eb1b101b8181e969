"""Shared fixtures. Shapes in signatures are checked while testing, free while running."""

from pathlib import Path

import pytest
from jaxtyping import install_import_hook

# Must come before the first import of the package. A whole number passes where a float is wanted,
# as PEP 484 says.
CHECKER = "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"
install_import_hook("monosemy", CHECKER)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real models and texts beside the checkout; tests that want them skip where they are absent."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("real models and texts are not beside this checkout (../shared/data)")
    return folder
