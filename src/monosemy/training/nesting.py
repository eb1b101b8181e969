"""Which prefixes of the latents must reconstruct without the rest (Matryoshka)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from monosemy.tensors.axes import Int, Tensor
from monosemy.tensors.compute import Compute

_HALVINGS = 5


class Nesting:
    """The ends of the nested prefixes at each step: fixed, or drawn anew.

    Fixed shares are those of Bussmann et al. 2025 (arXiv:2503.17547). Drawn ends are
    ``ceil(latents^u)`` with ``u`` even on [0, 1], so that every octave is equally likely and the
    order of latents becomes one of importance (Nabeshima 2024, who draws from a Pareto
    distribution, which prefers short prefixes more); the whole dictionary is always one of them.

    Parameters
    ----------
    latents : of the dictionary.
    shares : of the fixed prefixes.
    sampled : how many prefixes a step draws, the whole one included.
    seed : of the draws; each step has its own, so that a resumed run draws the same.
    """

    def __init__(
        self, latents: int, shares: Sequence[float] = (), sampled: int = 0, seed: int = 0,
        device: str | torch.device = "cpu",
    ):  # fmt: skip
        self.latents = latents
        self.sampled = sampled
        self.compute = Compute(seed=seed)
        self.device = device
        self.fixed = tuple(max(round(share * latents), 1) for share in shares)

    def __bool__(self) -> bool:
        return bool(self.fixed or self.sampled)

    def ends(self, step: int) -> Int[Tensor, "prefix"]:
        """Where prefixes end at `step`, rising; the last is the whole."""
        if not self.sampled:
            return torch.tensor(self.fixed, dtype=torch.int64, device=self.device)
        draw = self.compute.generator(f"prefixes of step {step}")
        u = torch.rand(self.sampled - 1, generator=draw, dtype=torch.float64)
        ends = (u * math.log(self.latents)).exp().ceil().long().clamp_max(self.latents)
        whole = torch.tensor([self.latents])
        return torch.cat([ends.sort().values, whole]).to(self.device)

    @property
    def lasting(self) -> tuple[int, ...]:
        """Prefixes that the finished dictionary names: the fixed ones, or five halvings."""
        halves = (self.latents >> times for times in range(_HALVINGS, -1, -1))
        return self.fixed or tuple(sorted({end for end in halves if end}))
