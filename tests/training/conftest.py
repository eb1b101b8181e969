"""A dictionary that learns random rows, small enough to run whole trainings in a test."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from monosemy.data.streams import ActivationStream
from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.selection import build_selection
from monosemy.tensors.compute import Compute
from monosemy.training.journal import Journal
from monosemy.training.loop import Rhythm, Training
from monosemy.training.objectives import LearnDictionary, ObjectiveConfig
from monosemy.training.optim import OptimConfig, Optimiser
from monosemy.training.start import look

WIDTH, LATENTS, STEPS = 8, 32, 24


class Rows:
    """A source that holds its activations."""

    site = "random rows"
    waits_for = "input"
    fingerprint = "random rows"
    dtype = torch.float32
    width = WIDTH
    contexts = None

    def __init__(self, values: torch.Tensor):
        self.values = values
        self.tokens = len(values)

    def rows(self, start: int, stop: int) -> torch.Tensor:
        return self.values[start:stop]


@pytest.fixture(scope="session")
def rows() -> torch.Tensor:
    """Sparse sums of random directions, away from zero."""
    draw = torch.Generator().manual_seed(0)
    amounts = torch.rand(STEPS * 16, LATENTS, generator=draw)
    mixed = amounts * (amounts > 0.9) @ torch.randn(LATENTS, WIDTH, generator=draw)
    return mixed + 0.5


@pytest.fixture(scope="session")
def make_training(rows: torch.Tensor) -> Callable[..., Training]:
    """A training with every kind of state: moments, threshold, silence counts, warm-up, stream."""

    def make(
        selection: str = "batchtopk", checkpoint: int = 10, steps: int = STEPS, **changes: Any
    ):
        compute = Compute(seed=3)
        draw = compute.generator("weights")
        chosen = build_selection(selection, 2, LATENTS)
        dictionary = FlatDictionary.random(WIDTH, LATENTS, chosen, draw)
        objective = ObjectiveConfig(l1=0.01, warmup=15, aux=0.1, dead_after=64)
        program = LearnDictionary(dictionary.train(), look(rows), objective)
        optimiser = Optimiser(dictionary.parameters(), OptimConfig(learning_rate=0.02), steps)
        stream = ActivationStream(Rows(rows), 16, compute, epochs=None, block=64)
        rhythm = Rhythm(log=5, checkpoint=checkpoint, observe=10)
        return Training(program, optimiser, stream, steps, rhythm, **changes)

    return make


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    """A new run."""
    return Journal(tmp_path / "run", {"steps": STEPS})


@pytest.fixture(scope="session")
def flat_state() -> Callable[[Any], dict[str, Any]]:
    """Every tensor and number of a nested state, by its path."""

    def leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
        if isinstance(value, dict):
            for key, inner in value.items():
                yield from leaves(inner, f"{path}.{key}")
        elif isinstance(value, list | tuple):
            for index, inner in enumerate(value):
                yield from leaves(inner, f"{path}.{index}")
        else:
            yield path, value.tolist() if isinstance(value, torch.Tensor) else value

    return lambda state: dict(leaves(state, ""))
