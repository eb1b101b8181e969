"""One optimiser step: clip, set the learning rate, Adam."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from monosemy.foundation.errors import refuse


@dataclass(frozen=True)
class OptimConfig:
    """AdamW (Loshchilov and Hutter 2019) under a trapezoid schedule."""

    learning_rate: float = 1e-3
    """The plateau, reached after the warm-up."""
    warmup: float = 0.02
    """Share of all steps over which the rate climbs linearly from zero."""
    decay: float = 0.2
    """Share of all steps, at the end, over which the rate falls linearly to zero."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decay of the first and second moments."""
    weight_decay: float = 0.0
    """Decoupled decay, on matrices only."""
    clip: float = 1.0
    """Largest Euclidean norm of the whole gradient; 0 turns clipping off."""

    def __post_init__(self) -> None:
        wanted = {
            "learning_rate": (0 < self.learning_rate < math.inf, "more than 0"),
            "warmup": (0 <= self.warmup <= 1, "0 to 1"),
            "decay": (0 <= self.decay <= 1, "0 to 1"),
            "betas": (all(0 <= beta < 1 for beta in self.betas), "two numbers from 0 to below 1"),
            "weight_decay": (0 <= self.weight_decay < math.inf, "at least 0"),
            "clip": (self.clip >= 0, "at least 0"),
        }
        refuse(
            [
                f"{name} = {getattr(self, name)}; wanted {range_}"
                for name, (fits, range_) in wanted.items()
                if not fits
            ],
            "the optimiser's configuration",
        )


def rate_at(step: int, steps: int, config: OptimConfig) -> float:
    """Learning rate of step `step` (from 0) of `steps`.

    ``rate · min((step+1) / (warmup·steps), 1, (steps-step) / (decay·steps))``

    >>> config = OptimConfig(learning_rate=1.0, warmup=0.1, decay=0.2)
    >>> [round(rate_at(s, 100, config), 2) for s in (0, 9, 50, 80, 90, 99)]
    [0.1, 1.0, 1.0, 1.0, 0.5, 0.05]
    """
    rising = (step + 1) / max(config.warmup * steps, 1)
    falling = (steps - step) / max(config.decay * steps, 1)
    return config.learning_rate * min(rising, 1.0, falling)


class Optimiser:
    """AdamW over named parameters; its state is exactly what a resumed run needs."""

    def __init__(self, parameters: Iterable[nn.Parameter], config: OptimConfig, steps: int):
        self.config = config
        self.steps = steps
        chosen = [p for p in parameters if p.requires_grad]
        groups = [
            {"params": [p for p in chosen if p.ndim >= 2], "weight_decay": config.weight_decay},
            {"params": [p for p in chosen if p.ndim < 2], "weight_decay": 0.0},
        ]
        self.adam = torch.optim.AdamW(
            [group for group in groups if group["params"]],
            lr=config.learning_rate,
            betas=config.betas,
            fused=True,
        )

    def step(self, step: int) -> dict[str, torch.Tensor]:
        """Apply the gradients of step `step` and clear them; returns readings for the journal."""
        readings = {}
        if self.config.clip:
            everything = [p for group in self.adam.param_groups for p in group["params"]]
            readings["gradient_norm"] = nn.utils.clip_grad_norm_(everything, self.config.clip)
        for group in self.adam.param_groups:
            group["lr"] = rate_at(step, self.steps, self.config)
        self.adam.step()
        self.adam.zero_grad(set_to_none=True)
        return readings

    def state_dict(self) -> dict[str, Any]:
        """Adam's moments."""
        return self.adam.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up moments saved by `state_dict`."""
        self.adam.load_state_dict(state)
