"""One optimiser step: clip, set the learning rate, Adam."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from monosemy.foundation.errors import refuse
from monosemy.tensors.axes import Tensor
from monosemy.tensors.routes import kernels_for
from monosemy.tensors.rows import AdamSettings, RowGradient, gradient_of

# torch's default.
_EPS = 1e-8


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
    rows: str = "all"
    """Rows of a dictionary's matrices that a step updates: ``all``, or ``active`` (those that have a
    gradient; the moments of the others catch up when they return), which pays where few of very
    many latents are active in a batch."""

    def __post_init__(self) -> None:
        wanted = {
            "learning_rate": (0 < self.learning_rate < math.inf, "more than 0"),
            "warmup": (0 <= self.warmup <= 1, "0 to 1"),
            "decay": (0 <= self.decay <= 1, "0 to 1"),
            "betas": (all(0 <= beta < 1 for beta in self.betas), "two numbers from 0 to below 1"),
            "weight_decay": (0 <= self.weight_decay < math.inf, "at least 0"),
            "clip": (self.clip >= 0, "at least 0"),
            "rows": (self.rows in ("all", "active"), "all or active"),
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


@dataclass(frozen=True, eq=False)
class _Rows:
    """A parameter that is updated row by row (a vector is one row), and Adam's moments of it."""

    parameter: nn.Parameter
    rows: Tensor
    """The parameter's memory, as a matrix."""
    gradient: RowGradient
    mean: Tensor
    variance: Tensor
    seen: Tensor | None
    """The step at which each row last had a gradient, where silent rows are left alone."""
    decay: float

    @classmethod
    def of(cls, parameter: nn.Parameter, config: OptimConfig) -> _Rows:
        matrix = parameter.ndim >= 2
        rows = parameter.detach().view(len(parameter) if matrix else 1, -1)
        gradient = gradient_of(parameter) or RowGradient.of(rows)
        moments = torch.zeros_like(rows), torch.zeros_like(rows)
        every = config.rows == "all" or not matrix
        seen = None if every else torch.zeros_like(gradient.touched, dtype=torch.int64)
        return cls(parameter, rows, gradient, *moments, seen, config.weight_decay * matrix)

    @property
    def state(self) -> dict[str, Tensor]:
        moments = {"mean": self.mean, "variance": self.variance}
        return moments if self.seen is None else moments | {"seen": self.seen}

    @property
    def squared_norm(self) -> Tensor:
        return kernels_for(self.rows).squared_norm(self.gradient)

    def absorb(self) -> None:
        """What came by autograd's own way, and not through the kernels, counts too."""
        if self.parameter.grad is not None:
            new = self.parameter.grad.view_as(self.rows)
            self.gradient.values.copy_(self.gradient.dense() + new)
            self.gradient.changed(slice(None))
            self.parameter.grad = None

    def forget(self, rows: Tensor) -> None:
        """The past of some rows (of a vector, of some numbers)."""
        for moment in (self.mean, self.variance):
            moment.view_as(self.parameter)[rows] = 0.0

    def update(self, settings: AdamSettings) -> None:
        state = self.gradient, self.mean, self.variance, settings, self.seen
        kernels_for(self.rows).update_rows(self.rows, *state)


class Optimiser:
    """AdamW over parameters; its state is exactly what a resumed run needs.

    Where one of them carries a `RowGradient`, each is updated in one pass: the gradient along unit
    rows taken out, clipped, Adam, rows back to length one. Elsewhere torch's AdamW does it.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], config: OptimConfig, steps: int):
        self.config = config
        self.steps = steps
        chosen = [p for p in parameters if p.requires_grad]
        by_rows = any(gradient_of(p) is not None for p in chosen)
        self._rows = [_Rows.of(p, config) for p in chosen] if by_rows else []
        # torch imports its compiler for an optimiser: a second and 150 MiB, for those who need it.
        self.adam = None if by_rows else _adam(chosen, config)

    @torch.no_grad()
    def step(self, step: int) -> dict[str, torch.Tensor]:
        """Apply the gradients of step `step` and clear them; returns readings for the journal."""
        rate = rate_at(step, self.steps, self.config)
        if self.adam is not None:
            return _step(self.adam, rate, self.config.clip)
        for rows in self._rows:
            rows.absorb()
        readings, scale = self._clip()
        for rows in self._rows:
            rows.update(
                AdamSettings(
                    rate=rate, betas=self.config.betas, eps=_EPS, decay=rows.decay,
                    step=step + 1, scale=scale,
                )
            )  # fmt: skip
        return readings

    def _clip(self) -> tuple[dict[str, torch.Tensor], float | torch.Tensor]:
        """The norm of the whole gradient, and the factor that brings it down to what is allowed."""
        if not self.config.clip:
            return {}, 1.0
        norm = torch.stack([rows.squared_norm for rows in self._rows]).sum().sqrt()
        return {"gradient_norm": norm}, (self.config.clip / (norm + 1e-6)).clamp(max=1.0)

    @torch.no_grad()
    def forget(self, parameter: nn.Parameter, rows: Tensor) -> None:
        """`rows` of `parameter` begin anew: their moments are zero again."""
        for part in self._rows:
            if part.parameter is parameter:
                part.forget(rows)
        moments = {} if self.adam is None else self.adam.state.get(parameter, {})
        for name in {"exp_avg", "exp_avg_sq"} & moments.keys():
            moments[name][rows] = 0.0

    def state_dict(self) -> dict[str, Any]:
        """Adam's moments."""
        adam = None if self.adam is None else self.adam.state_dict()
        return {"adam": adam, "rows": [rows.state for rows in self._rows]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up moments saved by `state_dict`."""
        if self.adam is not None:
            self.adam.load_state_dict(state["adam"])
        for rows, saved in zip(self._rows, state["rows"], strict=True):
            for name, kept in rows.state.items():
                kept.copy_(saved[name])


def _adam(parameters: list[nn.Parameter], config: OptimConfig) -> torch.optim.AdamW:
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    rate, betas = config.learning_rate, config.betas
    return torch.optim.AdamW(groups, lr=rate, betas=betas, eps=_EPS, fused=True)


def _step(adam: torch.optim.AdamW, rate: float, clip: float) -> dict[str, torch.Tensor]:
    readings = {}
    if clip:
        everything = [p for group in adam.param_groups for p in group["params"]]
        readings["gradient_norm"] = nn.utils.clip_grad_norm_(everything, clip)
    for group in adam.param_groups:
        group["lr"] = rate
    adam.step()
    adam.zero_grad(set_to_none=True)
    return readings
