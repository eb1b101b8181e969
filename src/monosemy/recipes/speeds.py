"""How fast this machine is at what training does: products, copies, one small step."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from monosemy.dictionaries.flat import FlatDictionary, random_unit_rows
from monosemy.dictionaries.selection import TopK
from monosemy.foundation.progress import SILENT, Progress
from monosemy.tensors import routes
from monosemy.training.loop import advance_program
from monosemy.training.objectives import LearnDictionary, ObjectiveConfig
from monosemy.training.optim import OptimConfig, Optimiser
from monosemy.training.start import look

WIDTH, LATENTS, BATCH, K = 512, 4096, 1024, 32
"""The small step, and the product of its encoder."""
COPIED = 1 << 27
"""Bytes of a copy: more than most caches hold."""
# Seconds for each reading; there are five.
_LONG = 0.25


def measure(device: str, progress: Progress = SILENT) -> dict[str, Any]:
    """GFLOP/s of the encoder's product, GB/s of a copy (read and written), milliseconds of a step.

    The product is torch's own, in float32 and bfloat16. A step is one of TopK training;
    ``step_ms_proposals`` is none where bfloat16 proposals change nothing. The first step on a
    machine compiles the kernels, which is not counted. Whatever fails is none, and ``problem`` says
    why.
    """
    readings: dict[str, Callable[[], float | None]] = {
        "float32_gflops": lambda: _product(device, torch.float32),
        "bfloat16_gflops": lambda: _product(device, torch.bfloat16),
        "copy_gb_s": lambda: _copy(device),
        "step_ms": lambda: _step(device, propose=False),
        "step_ms_proposals": lambda: _step_with_proposals(device),
    }
    shape = {"width": WIDTH, "latents": LATENTS, "batch": BATCH, "k": K}
    found: dict[str, Any] = {"shape": shape, "problem": None, **dict.fromkeys(readings)}
    with progress.task(f"measure {device}", len(readings), "readings") as task:
        for name, read in readings.items():
            try:
                value = read()
            except (ImportError, RuntimeError) as error:  # numba without a cache, a full GPU, ...
                return found | {"problem": f"{type(error).__name__}: {error}"}
            found[name] = None if value is None else round(value, 2)
            task.advance(1, f"{name} {found[name]}")
    return found


def _product(device: str, dtype: torch.dtype) -> float:
    left = torch.ones(BATCH, WIDTH, dtype=dtype, device=device)
    right = torch.ones(WIDTH, LATENTS, dtype=dtype, device=device)
    out = torch.empty(BATCH, LATENTS, dtype=dtype, device=device)
    return 2e-9 * BATCH * WIDTH * LATENTS / seconds(lambda: torch.mm(left, right, out=out), device)


def _copy(device: str) -> float:
    source = torch.ones(COPIED, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2e-9 * COPIED / seconds(lambda: target.copy_(source), device)


def _step(device: str, propose: bool) -> float:
    draw = torch.Generator().manual_seed(0)
    rows = torch.randn(BATCH, WIDTH, generator=draw)
    directions = random_unit_rows(LATENTS, WIDTH, draw)
    dictionary = FlatDictionary.tied(directions, rows.mean(0), TopK(K)).to(device).train()
    dictionary.propose = propose
    program = LearnDictionary(dictionary, look(rows, "mean"), ObjectiveConfig(aux=0.0))
    optimiser = Optimiser(dictionary.parameters(), OptimConfig(), 1000)
    batch = rows.to(device)
    return 1000 * seconds(lambda: advance_program(program, optimiser, batch, 1), device)


def _step_with_proposals(device: str) -> float | None:
    # The plain kernels multiply in full precision whatever they are told.
    plain = routes.name_for(device, torch.float32) == "portable"
    return None if plain else _step(device, propose=True)


def seconds(work: Callable[[], Any], device: str) -> float:
    """Median time of `work`, of at least three rounds, after one to warm up."""
    work()
    _wait(device)
    taken: list[float] = []
    while len(taken) < 3 or sum(taken) < _LONG:
        began = time.perf_counter()
        work()
        _wait(device)
        taken.append(time.perf_counter() - began)
    return sorted(taken)[len(taken) // 2]


def _wait(device: str) -> None:
    """Until an accelerator has done what it was told."""
    if device != "cpu":
        torch.accelerator.synchronize()
