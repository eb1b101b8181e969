"""Does the gain of one subspace reach what is read from another? A toy with two subspaces.

``z = (g1 c1, g2 c2)``: two halves of the axes, each with content of mean square one and a gain of
its own. A linear decoder of ``c1`` is fitted behind a norm while both gains are one, then asked while
a gain differs. A global norm divides by the energy of both halves, so the gain of the second moves
what is read from the first; a norm with a pool for each half does not. (Independent subspaces that
need norms of their own: Menary et al. 2024, arXiv:2406.17837.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from monosemy.foundation.errors import UserError
from monosemy.models.norms import PooledNorm
from monosemy.tensors.axes import Float, Int, Tensor

Normalise = Callable[[Tensor], Tensor]
GAINS = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Of the half that is changed; the other one's is one."""
# Standard deviation of what is added behind the norm, so that errors have a floor that is no rounding.
NOISE = 0.1


@dataclass(frozen=True, eq=False)
class TwoSubspaces:
    """Samples of the toy.

    Attributes
    ----------
    first, second : content of the halves, each row of mean square one.
    noise : added behind the norm.
    places : which axis of the stream each axis of (first, second) is; a shuffle hides the halves.
    """

    first: Float[Tensor, "sample half"]
    second: Float[Tensor, "sample half"]
    noise: Float[Tensor, "sample width"]
    places: Int[Tensor, "width"]

    @classmethod
    def draw(
        cls, samples: int, width: int, draw: torch.Generator, shuffled: bool = False
    ) -> TwoSubspaces:
        """Content is Gaussian, scaled to mean square one.

        Errors
        ------
        `UserError` for a width that is odd or below 4, or fewer samples than axes.
        """
        if width < 4 or width % 2:
            raise UserError(f"width = {width}; wanted an even number from 4, for two halves")
        if samples < 4 * width:
            raise UserError(
                f"{samples} samples of {width} axes; a decoder needs at least {4 * width}"
            )
        halves = [torch.randn(samples, width // 2, generator=draw) for _ in range(2)]
        first, second = (half / half.square().mean(1, keepdim=True).sqrt() for half in halves)
        noise = NOISE * torch.randn(samples, width, generator=draw)
        order = torch.randperm(width, generator=draw) if shuffled else torch.arange(width)
        return cls(first, second, noise, order)

    def stream(
        self, own: float | Float[Tensor, "sample 1"], other: float | Float[Tensor, "sample 1"]
    ) -> Float[Tensor, "sample width"]:
        """``z`` under these gains of the first and the second half."""
        halves = torch.cat([own * self.first, other * self.second], dim=1)
        out = torch.empty_like(halves)
        out[:, self.places] = halves
        return out


def decoding_errors(
    normalise: Normalise, toy: TwoSubspaces, gains: Sequence[float] = GAINS, of: str = "other"
) -> list[float]:
    """``E|c1 - decoded|^2 / E|c1|^2`` at each gain, by a decoder fitted where all gains are one.

    Parameters
    ----------
    normalise : the norm, without gain and bias.
    of : whose gain is changed: ``other`` (the second half's) or ``own``.
    """
    half = len(toy.first) // 2

    def read(own: float, other: float) -> Float[Tensor, "sample inputs"]:
        out = normalise(toy.stream(own, other)) + toy.noise
        return torch.cat([out, torch.ones_like(out[:, :1])], dim=1)

    decoder = torch.linalg.lstsq(read(1.0, 1.0)[:half], toy.first[:half]).solution
    errors = []
    for gain in gains:
        seen = read(gain, 1.0) if of == "own" else read(1.0, gain)
        left = toy.first[half:] - seen[half:] @ decoder
        errors.append(float(left.square().sum() / toy.first[half:].square().sum()))
    return errors


def learn_pools(
    toy: TwoSubspaces, pools: int, draw: torch.Generator, steps: int = 400, sigma: float = 0.05
) -> tuple[PooledNorm, float]:
    """Pools that are learned so that a linear decoder reads ``c1`` and ``c2`` under all gains.

    Gains are drawn anew at each step, evenly in logarithm over `GAINS`. Gives the norm and the
    *purity* of its pools: the mean over axes of how much of an axis's membership lies in the pool
    that its half mostly uses; ``1 / pools`` at random, 1 where pools are the halves. Two halves that
    use the same pool have no purity beyond one half.
    """
    width = toy.noise.shape[1]
    norm = PooledNorm(width, pools, sigma, draw=draw)
    decoder = torch.nn.Linear(width, width)
    torch.nn.init.zeros_(decoder.weight)
    target = torch.cat([toy.first, toy.second], dim=1)
    spread = torch.tensor(GAINS).log().abs().max()
    groups = [{"params": [norm.logits], "lr": 0.1}, {"params": decoder.parameters(), "lr": 0.02}]
    optimiser = torch.optim.Adam(groups)
    for step in range(steps):
        gains = ((2 * torch.rand(2, len(target), 1, generator=draw) - 1) * spread).exp()
        out = norm.normalised(toy.stream(gains[0], gains[1])) + toy.noise
        loss = (target - decoder(out)).square().mean()
        optimiser.zero_grad()
        loss.backward()
        for group, rate in zip(optimiser.param_groups, (0.1, 0.02), strict=True):
            group["lr"] = rate * min(1.0, 2 * (1 - step / steps))
        optimiser.step()
    return norm, purity(norm, toy)


def purity(norm: PooledNorm, toy: TwoSubspaces) -> float:
    """See `learn_pools`."""
    m = norm.membership.detach()[:, toy.places]
    half = m.shape[1] // 2
    sides = m[:, :half].sum(1), m[:, half:].sum(1)
    best = [int(side.argmax()) for side in sides]
    kept = float(sides[0].max() + sides[1].max()) / m.shape[1]
    return kept if best[0] != best[1] else min(kept, 0.5)
