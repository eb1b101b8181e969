"""Threads that each do a share of a kernel: no pool of torch's or of OpenMP is woken between them.

torch's own threads keep spinning for some milliseconds after each of its parallel loops, and would
take the cores from ours. So the product of a share runs inside the worker, on one thread, and the
caller sleeps meanwhile.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache

import torch

# Fewer tokens than this in a share, and the products inside it lose more than sharing gains.
LEAST_SHARE = 64

_own = threading.local()


def share_out(count: int, least: int = 1) -> list[tuple[int, int]]:
    """Even shares ``(start, stop)`` of `count` things, at most one a thread, of `least` or more."""
    shares = max(1, min(_threads(), count // least))
    bounds = [count * share // shares for share in range(shares + 1)]
    return list(zip(bounds[:-1], bounds[1:], strict=True))


def run(work: Callable[[int, int], object], shares: list[tuple[int, int]]) -> None:
    """Call ``work(start, stop)`` for every share, side by side; the first error is raised here.

    In inference mode, shares are too: torch keeps the mode by thread.
    """
    if len(shares) == 1:
        work(*shares[0])
        return
    threads = max(1, _threads() // len(shares))
    pool = _pool(len(shares), threads, os.getpid())
    there = torch.inference_mode()(work) if torch.is_inference_mode_enabled() else work
    for future in [pool.submit(there, *share) for share in shares]:
        future.result()


def scratch(purpose: str, dtype: torch.dtype, size: int) -> torch.Tensor:
    """Memory of this thread, kept from call to call: fresh pages cost more than what fills them.

    Whoever asks for the same purpose next gets the same memory.
    """
    name = f"{purpose} {dtype}"
    kept = _own.__dict__.get(name)
    if kept is None or len(kept) < size:
        # What is made in inference mode could not be written to outside it.
        with torch.inference_mode(False):
            kept = _own.__dict__[name] = torch.empty(size, dtype=dtype)
    return kept[:size]


def product(
    left: torch.Tensor, right: torch.Tensor, out: torch.Tensor, add: bool = False
) -> torch.Tensor:
    """``left right`` into `out` (or on top of it), the rows of the result shared out."""
    if out.device.type != "cpu":
        return torch.addmm(out, left, right, out=out) if add else torch.mm(left, right, out=out)

    def work(start: int, stop: int) -> None:
        rows = out[start:stop]
        torch.addmm(rows, left[start:stop], right, beta=float(add), out=rows)

    run(work, share_out(len(out), LEAST_SHARE))
    return out


@contextmanager
def undisturbed() -> Iterator[None]:
    """Inside the block, torch's own loops use one thread, so that none spins beside the workers."""
    threads = torch.get_num_threads()
    before = getattr(_own, "threads", None)
    _own.threads = _threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        _own.threads = before


def _threads() -> int:
    return getattr(_own, "threads", None) or torch.get_num_threads()


@lru_cache(maxsize=4)
def _pool(workers: int, threads: int, process: int) -> ThreadPoolExecutor:
    """`process` is part of the key because threads do not survive a fork."""
    before = torch.get_num_threads()
    ready = threading.Barrier(workers + 1)

    def begin() -> None:
        torch.get_num_threads()  # a thread's first look would undo what is set before it
        torch.set_num_threads(threads)
        ready.wait()

    pool = ThreadPoolExecutor(workers, "monosemy", initializer=begin)
    for _ in range(workers):
        pool.submit(int)
    ready.wait()
    torch.set_num_threads(before)  # the last thread to set it also set the default of new ones
    return pool
