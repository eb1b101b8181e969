"""Axis codes: does a unit project its stimulus on one axis, and is it flat in all other directions?

Chang and Tsao (2017) find both of face cells: a ramp along one axis of a space of faces, and no
tuning in the plane orthogonal to it. A unit that likes stimuli near one exemplar has neither.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from monosemy.foundation.errors import refuse
from monosemy.tensors.axes import Float, Tensor


@dataclass(frozen=True)
class Tuning:
    """How one kind of code answers to stimuli.

    Attributes
    ----------
    along : share of variance that a line along each unit's axis explains, on other trials: mean.
    ceiling : share that the mean over trials explains: what noise leaves to be explained.
    across : variance that orthogonal directions explain on other trials, over that along the axis.
    units, stimuli, trials : how many.
    """

    along: float
    ceiling: float
    across: float
    units: int
    stimuli: int
    trials: int

    def to_json(self) -> dict[str, Any]:
        """Every attribute."""
        return dict(vars(self))


def tuning(
    stimuli: Float[Tensor, "stimulus dimension"], answers: Float[Tensor, "trial stimulus unit"]
) -> Tuning:
    """Fit an axis to every unit on half of the trials, and hold the other half against it.

    The axis is that of least squares; means of the two halves of trials have independent noise, so
    ``Σ f g`` of a prediction f and an answer g has none of it. Across the axis a unit may answer in
    any way: variance is what the mean answer has beyond the line, in bins of 8 along each of the
    other principal axes of the stimuli in turn, summed.

    Errors
    ------
    `UserError` for fewer than two trials, and for fewer than 8 stimuli for each dimension.
    """
    trials, many, units = answers.shape
    dimensions = stimuli.shape[1]
    reasons = [f"{trials} trial; wanted at least 2"] if trials < 2 else []
    if many < 8 * dimensions:
        reasons.append(
            f"{many} stimuli in {dimensions} dimensions; wanted at least {8 * dimensions}"
        )
    refuse(reasons, "this tuning")
    x = stimuli.double() - stimuli.double().mean(0)
    first, second = (answers[half::2].double().mean(0) for half in (0, 1))
    first, second = first - first.mean(0), second - second.mean(0)
    axis = torch.linalg.lstsq(x, first).solution
    line = x @ axis
    signal = (first * second).mean(0)
    total = (answers.double() - answers.double().mean((0, 1))).square().mean((0, 1))
    along = (line * second).mean(0)
    across = torch.stack([_beyond(x, axis[:, unit], first[:, unit] - line[:, unit], second[:, unit])
                          for unit in range(units)])  # fmt: skip
    return Tuning(
        float((along / total).mean()), float((signal / total).mean()),
        float(across.sum() / along.sum()), units, many, trials,
    )  # fmt: skip


_BINS = 8


def _beyond(x: Tensor, axis: Tensor, left: Tensor, answer: Tensor) -> Tensor:
    """Variance that bins along directions orthogonal to `axis` explain of what the line leaves."""
    basis = torch.linalg.svd(axis[None]).Vh[1:]
    found = torch.zeros((), dtype=x.dtype)
    for along in basis @ x.T:
        place = along.argsort().argsort() * _BINS // len(along)
        counts = torch.bincount(place, minlength=_BINS).double()
        means = [torch.zeros(_BINS, dtype=x.dtype).index_add(0, place, one) / counts
                 for one in (left, answer)]  # fmt: skip
        found = found + (means[0] * means[1] * counts).sum() / len(along)
    return found


def axis_cells(
    stimuli: Float[Tensor, "stimulus dimension"], units: int, trials: int, noise: float,
    generator: torch.Generator,
) -> Float[Tensor, "trial stimulus unit"]:  # fmt: skip
    """``r = a · f + noise``: every unit its own axis a of length one."""
    axes = torch.randn(stimuli.shape[1], units, generator=generator)
    mean = stimuli @ (axes / axes.norm(dim=0))
    return mean + noise * torch.randn(trials, *mean.shape, generator=generator)


def exemplar_cells(
    stimuli: Float[Tensor, "stimulus dimension"], units: int, trials: int, noise: float,
    generator: torch.Generator,
) -> Float[Tensor, "trial stimulus unit"]:  # fmt: skip
    """``r = -‖f - e‖ + noise``, scaled to variance one: every unit its own exemplar e, a stimulus."""
    chosen = stimuli[torch.randperm(len(stimuli), generator=generator)[:units]]
    mean = -torch.cdist(stimuli, chosen)
    mean = (mean - mean.mean(0)) / mean.std(0)
    return mean + noise * torch.randn(trials, *mean.shape, generator=generator)
