"""A process that owns one contestant, asleep on a pipe until it is told to step.

Orders and answers are lines of JSON. Between orders the process holds its parameters and its
moments and does nothing, so that any number of contestants can take turns.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import torch

WARM_STEPS = 2
LOOK_ROWS = 256
DEAD_SHARE = 0.1
RATE = 1e-3
# For variants whose cost depends on what is active: dead latents stay dead, and L0 stays near k, for
# a few hundred steps.
SLOW_RATE = 1e-5
SLOW = ("relu", "jumprelu", "gated")


@dataclass(frozen=True)
class Shape:
    """Sizes of a step: `width` (d), `latents` (m), `tokens` (B) and `k`."""

    width: int
    latents: int
    tokens: int
    k: int

    def dead(self, selection: str) -> int:
        """How many latents, the first ones, are held dead in this variant."""
        return int(DEAD_SHARE * self.latents) if selection.endswith(".dead") else 0

    @property
    def prefixes(self) -> list[int]:
        """Nested widths of the Matryoshka variants: five, each twice the last."""
        return [self.latents >> halvings for halvings in (4, 3, 2, 1, 0)]


def rate(selection: str) -> float:
    """The learning rate of a variant, the same for every library that takes one."""
    return SLOW_RATE if selection.endswith(".dead") or selection in SLOW else RATE


class Contestant(Protocol):
    """One training step of one library."""

    def prepare(self) -> None:
        """What is done before each step and not timed: dead latents are declared dead."""

    def step(self, batch: torch.Tensor) -> None:
        """Encode, loss, backward, clip, update, renormalise."""

    def look(self, batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Active latents of each token, and the reconstruction."""


Build = Callable[[str, Shape, torch.Tensor], Contestant]


def batches(shape: Shape, count: int = 3) -> list[torch.Tensor]:
    """Activations of variance one: half of it in 64 directions, half everywhere; the same for all."""
    draw = torch.Generator().manual_seed(0)
    rank = min(64, shape.width)
    directions = torch.randn(rank, shape.width, generator=draw) / rank**0.5
    half = 0.5**0.5
    return [
        half * torch.randn(shape.tokens, rank, generator=draw) @ directions
        + half * torch.randn(shape.tokens, shape.width, generator=draw)
        for _ in range(count)
    ]


@torch.no_grad()
def edge(pre: torch.Tensor, k: int) -> float:
    """The value above which `k` entries a token lie, so that selections without a k start there."""
    return float(pre.flatten().topk(k * len(pre)).values.min())


def serve(build: Build, packages: list[str]) -> None:
    """Build the contestant that the command line asks for, warm it up, and step when told to."""
    order = json.loads(sys.argv[1])
    shape = Shape(**order["shape"])
    torch.set_num_threads(order["threads"])
    torch.manual_seed(0)
    answer = private_answers()
    pool = batches(shape)
    contestant = build(order["selection"], shape, pool[0])
    _forget_peak()
    turn = 0

    def step(count: int, dropped: int = 0) -> dict[str, Any]:
        nonlocal turn
        taken = []
        for _ in range(count):
            contestant.prepare()
            began = time.perf_counter()
            contestant.step(pool[turn % len(pool)])
            taken.append(1e3 * (time.perf_counter() - began))
            turn += 1
        return {"milliseconds": taken[dropped:]}

    def end() -> dict[str, Any]:
        peak = peak_mib()  # before the look, which is not part of a step
        active, unexplained = _look(contestant, pool[0][:LOOK_ROWS])
        return {"peak_mib": peak, "active": active, "unexplained": unexplained, "steps": turn}

    before = _look(contestant, pool[0][:LOOK_ROWS])[1]
    step(WARM_STEPS)
    versions = {name: version(name) for name in [*packages, "torch"]}
    answer({"versions": {"python": platform.python_version(), **versions}, "unexplained": before})
    listen({"step": step, "end": end}, answer)


def listen(verbs: dict[str, Callable[..., Any]], answer: Callable[[Any], None]) -> None:
    """Answer orders ``{"do": VERB, ...}`` until the pipe is closed."""
    for line in sys.stdin:
        order = json.loads(line)
        answer(verbs[order.pop("do")](**order))


def private_answers() -> Callable[[Any], None]:
    """A way to answer that nothing a library prints can reach: its output goes to stderr."""
    pipe = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    # Where memory runs out, this process dies and not the driver or somebody else's.
    adjust = Path("/proc/self/oom_score_adj")
    if adjust.exists():
        adjust.write_text("1000")
    return lambda value: print(json.dumps(value), file=pipe, flush=True)


@torch.no_grad()
def _look(contestant: Contestant, rows: torch.Tensor) -> tuple[float, float]:
    active, back = contestant.look(rows)
    left = (rows - back).square().sum() / (rows - rows.mean(0)).square().sum()
    return round(float(active.float().mean()), 2), round(float(left), 4)


def _forget_peak() -> None:
    """Start the record of peak memory anew: building a contestant is not part of a step."""
    record = Path("/proc/self/clear_refs")
    if record.exists():
        record.write_text("5")


def peak_mib() -> int:
    """Peak resident memory since `_forget_peak`, libraries and all."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(text for text in status.read_text().splitlines() if text.startswith("VmHWM"))
        return int(line.split()[1]) // 1024
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size // (2**20 if sys.platform == "darwin" else 1024)
