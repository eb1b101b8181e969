"""What the reader of an examination can do: a sentence for each finding that costs speed or work."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

Found = dict[str, Any]
"""What `doctor.examine` found."""

# So much longer has a step with proposals to take before it is worth a word: readings differ.
_LONGER = 1.2


def advise(found: Found) -> list[str]:
    """What to do, most harmful first; nothing where all is well."""
    return [say for look in _LOOKS for say in [look(found)] if say]


def _cannot_step(found: Found) -> str | None:
    broken = {name: speed["problem"] for name, speed in found["speeds"].items() if speed["problem"]}
    return "; ".join(f"measuring failed on {name}: {problem}" for name, problem in broken.items())


def _numba(found: Found) -> str | None:
    if found["versions"]["numba"]:
        return None
    return "numba is missing; the fast kernels of the processor need it: pip install numba"


def _cache(found: Found) -> str | None:
    if not found["versions"]["numba"] or found["cache"]["writable"]:
        return None
    where = found["cache"]["folder"] or "neither beside the package nor in the user's own cache"
    return (
        f"numba cannot keep what it compiles ({where}), so every start compiles again or fails: "
        "set NUMBA_CACHE_DIR to a folder that you may write to"
    )


def _one_thread(found: Found) -> str | None:
    threads, cores = found["threads"]["torch"], found["threads"]["cores"]
    if threads > 1 or cores == 1:
        return None
    named = [name for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS") if os.environ.get(name)]
    how = f"unset {' and '.join(named)}" if named else f"set OMP_NUM_THREADS={cores}"
    return f"torch uses 1 thread on {cores} cores: {how}"


def _slow_torch(found: Found) -> str | None:
    processor = found["processor"]
    wanted = {"onednn": "oneDNN"}
    if processor["machine"] in ("x86_64", "AMD64"):  # other machines have libraries of their own
        wanted["mkl"] = "MKL"
    lacking = [name for key, name in wanted.items() if not processor[key]]
    if not lacking:
        return None
    return (
        f"this torch was built without {' and '.join(lacking)}, so its products are slow: install "
        "the one from PyPI or pytorch.org (pip install --force-reinstall torch)"
    )


def _slow_bfloat16(found: Found) -> str | None:
    slow = _where(found, lambda speed: speed["bfloat16_gflops"] < speed["float32_gflops"])
    return slow and (
        f"bfloat16 products are slower than float32 ones on {slow} (emulated): read models with "
        "--dtype float32 there, and train with --set precision=float32"
    )


def _slow_proposals(found: Found) -> str | None:
    def longer(speed: Found) -> bool:
        return (speed["step_ms_proposals"] or 0) > _LONGER * speed["step_ms"]

    slow = _where(found, longer)
    return slow and (
        f"a small step took longer with bfloat16 proposals on {slow}: if larger ones do too, train "
        "with --set precision=float32"
    )


def _no_specimen(found: Found) -> str | None:
    return found["specimen"]["problem"]


def _where(found: Found, holds: Callable[[Found], bool]) -> str:
    """The devices, as a list in words, that were measured and of whose speeds this `holds`."""
    speeds = found["speeds"].items()
    return ", ".join(name for name, speed in speeds if not speed["problem"] and holds(speed))


_LOOKS: tuple[Callable[[Found], str | None], ...] = (
    _cannot_step, _numba, _cache, _no_specimen, _one_thread, _slow_torch, _slow_bfloat16,
    _slow_proposals,
)  # fmt: skip
