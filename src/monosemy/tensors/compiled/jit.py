"""How every loop here is compiled: on first use, without the interpreter's lock, and kept on disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba

Loop = Callable[..., Any]


def loop(function: Loop) -> Loop:
    """Compile `function` as it is written."""
    return numba.njit(cache=True, nogil=True)(function)


def sum_loop(function: Loop) -> Loop:
    """Compile `function` so that its sums run in vector lanes.

    Sums may be reordered, multiply-adds fused and divisions made products with a reciprocal; NaN
    and infinity keep their meaning. Division by zero gives infinity: a check for it would keep a
    loop out of vector lanes.
    """
    loose = {"reassoc", "contract", "nsz", "arcp"}
    return numba.njit(cache=True, nogil=True, fastmath=loose, error_model="numpy")(function)
