"""Shared fixtures. Shapes in signatures are checked while testing, free while running."""

import inspect
from pathlib import Path

import numba
import pytest
from jaxtyping import install_import_hook

# The hook below wraps every function; numba can compile only what is inside the wrapper.
_njit = numba.njit


def _njit_unwrapped(*given, **options):
    if given:
        return _njit(*given, **options)
    return lambda function: _njit(**options)(inspect.unwrap(function))


numba.njit = _njit_unwrapped

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
