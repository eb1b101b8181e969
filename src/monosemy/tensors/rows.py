"""Gradients and updates row by row: a step touches the rows of active latents."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from monosemy.tensors.axes import Bool, Float, Tensor


@dataclass(frozen=True, eq=False)
class RowGradient:
    """The gradient of a matrix of which a step touches some rows; every other row's is zero.

    Its memory is taken once. A parameter that carries one (`attach`) gets its gradient there from
    the kernels, and not in ``.grad``.

    Attributes
    ----------
    values : one row a latent; what an untouched row holds means nothing.
    touched : rows that have a gradient.
    squares : squared length of each touched row (of what counts in it), NaN where it is not known.
    unit : where rows of the parameter are kept at length one, these rows: the gradient along them
        counts for nothing.
    """

    values: Float[Tensor, "latent width"]
    touched: Bool[Tensor, "latent"]
    squares: Float[Tensor, "latent"]
    unit: Float[Tensor, "latent width"] | None = None

    @classmethod
    def of(cls, parameter: Float[Tensor, "latent width"], unit: bool = False) -> RowGradient:
        """No gradient yet."""
        rows = parameter.detach()
        touched = torch.zeros(len(rows), dtype=torch.bool, device=rows.device)
        squares = rows.new_full((len(rows),), torch.nan)
        return cls(torch.empty_like(rows), touched, squares, rows if unit else None)

    @classmethod
    def attach(cls, parameter: nn.Parameter, unit: bool = False) -> RowGradient:
        """Give `parameter` a row gradient; `gradient_of` finds it."""
        gradient = parameter.row_gradient = cls.of(parameter, unit)  # type: ignore[attr-defined]
        return gradient

    def changed(self, rows: Tensor | slice) -> None:
        """`rows` have been written to."""
        self.touched[rows] = True
        self.squares[rows] = torch.nan

    def dense(self) -> Float[Tensor, "latent width"]:
        """The same gradient with its zeros written out."""
        return torch.where(self.touched[:, None], self.values, torch.zeros_like(self.values))


def release(parameter: nn.Parameter) -> None:
    """Take its row gradient from `parameter`: from now on its gradient is in ``.grad``."""
    del parameter.row_gradient  # type: ignore[attr-defined]


def gradient_of(parameter: Tensor) -> RowGradient | None:
    """The row gradient that `parameter` carries, if it carries one."""
    return getattr(parameter, "row_gradient", None)


@dataclass(frozen=True)
class AdamSettings:
    """One step of AdamW (Loshchilov and Hutter 2019), as `update_rows` applies it."""

    rate: float | Tensor
    """Learning rate of this step."""
    betas: tuple[float, float]
    """Decay of the first and second moments."""
    eps: float
    """Added to the root of the second moment."""
    decay: float
    """Decoupled weight decay."""
    step: int | Tensor
    """Steps taken, this one included: sets the correction of the moments' bias."""
    scale: float | Tensor = 1.0
    """What the gradient is multiplied by first (clipping). On a GPU this, the rate and the step may
    be scalar tensors, so that nothing waits for the device."""
