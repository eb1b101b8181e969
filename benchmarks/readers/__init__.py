"""Contestants of `benchmarks/stream.py`: our reading and shuffling, a peer's, and the floor.

Each module runs under the Python that has its library (``python -m readers.NAME``) and answers two
orders: ``read``, which runs a random GPT-2 small over tokens up to the sixth block, and ``deal``,
which shuffles rows that are ready.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator

import torch
from peers.worker import listen, peak_mib, private_answers

WIDTH, BLOCKS, HEADS, VOCABULARY, POSITIONS = 768, 12, 12, 50_257, 1024
SITE_BLOCK = 6
"""The residual stream that enters this block is read, so six blocks have to run."""
TOKENS = 2048
"""Of one call."""
READY = 4096
"""Rows that a source hands to a buffer at a time."""


def contexts(length: int, count: int = 16) -> torch.Tensor:
    """The same tokens for everybody, `count` calls of them."""
    draw = torch.Generator().manual_seed(0)
    return torch.randint(0, VOCABULARY, (count * TOKENS // length, length), generator=draw)


def ready(dtype: str) -> torch.Tensor:
    """Rows to be shuffled."""
    return torch.randn(READY, WIDTH).to(getattr(torch, dtype))


def serve(
    reading: Callable[[int, str], Callable[[], object]] | None,
    dealing: Callable[[int, int, str], Iterator[torch.Tensor]] | None,
) -> None:
    """Answer orders until the pipe is closed; what was built for an order is kept for the next.

    `reading(context, dtype)` gives a call that reads `TOKENS` tokens, `dealing(size, batch, dtype)`
    the batches of a buffer of `size` rows.
    """
    torch.set_num_threads(json.loads(sys.argv[1])["threads"])
    torch.manual_seed(0)
    answer = private_answers()
    built: dict[tuple, Callable] = {}

    def read(context: int, dtype: str, calls: int) -> dict:
        key = ("read", context, dtype)
        if key not in built:
            built.clear()  # one model at a time
            built[key] = reading(context, dtype)
            built[key]()
        return timed(built[key], calls, TOKENS)

    def deal(size: int, batch: int, dtype: str, tokens: int) -> dict:
        key = ("deal", size, batch, dtype)
        if key not in built:
            built.clear()
            batches = dealing(size, batch, dtype)
            built[key] = lambda: next(batches)
            for _ in range(2 * size // batch):  # until all memory that it uses was used before
                built[key]()
        return timed(built[key], tokens // batch, batch)

    answer({})
    listen({"read": read, "deal": deal}, answer)


def timed(work: Callable[[], object], calls: int, tokens: int) -> dict:
    """Seconds of wall and of processor time for each token, and the peak memory by now."""
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(calls):
        work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"wall": wall / calls / tokens, "cpu": cpu / calls / tokens, "peak_mib": peak_mib()}
