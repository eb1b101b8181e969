"""The units that a dictionary learns in, which fold away when it has learned."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from monosemy.tensors.axes import Activations, Float, Tensor


@dataclass(frozen=True, eq=False)
class Units:
    """``z = (x - origin) A``: activations `x` in the units in which they are learned from.

    Attributes
    ----------
    scale : ``A``: one factor, a factor for each number (a diagonal), or a symmetric matrix.
    inverse : ``A⁻¹``, in the same form.
    origin : where zero lies, in the activations' own units; `None` leaves it where it is.
    """

    scale: Tensor
    inverse: Tensor
    origin: Float[Tensor, "width"] | None = None

    @classmethod
    def scaled(cls, scale: Tensor | float, origin: Tensor | None = None) -> Units:
        """One factor (a scalar), or one for each number."""
        scale = torch.as_tensor(scale)
        return cls(scale, 1 / scale, origin)

    def apply(self, x: Activations) -> Activations:
        """`x` in these units."""
        return times(x if self.origin is None else x - self.origin, self.scale)

    def part(self, columns: slice) -> Units:
        """These units for some of the numbers; `ValueError` for a matrix, which mixes them all."""
        if self.scale.ndim == 2:
            raise ValueError("whitening mixes all numbers, so it has no parts")
        origin = None if self.origin is None else self.origin[columns]
        if self.scale.ndim == 0:
            return Units(self.scale, self.inverse, origin)
        return Units(self.scale[columns], self.inverse[columns], origin)

    def to(self, like: Tensor) -> Units:
        """The same on the device and in the type of `like`."""
        origin = None if self.origin is None else self.origin.to(like)
        return Units(self.scale.to(like), self.inverse.to(like), origin)


def times(rows: Float[Tensor, "row width"], by: Tensor) -> Float[Tensor, "row width"]:
    """``rows A`` for a factor, a diagonal or a matrix."""
    return rows @ by if by.ndim == 2 else rows * by


def fold_encoder(
    W_enc: Float[Tensor, "latent width"],
    b_enc: Float[Tensor, "latent"],
    read: Units,
    length: Float[Tensor, "latent"],
) -> None:
    """Make ``length · (W z + b)`` of ``z = (x - origin) A`` a reading of `x` itself. In place.

    ``W A (x - origin) + b = (W A) x + (b - (W A) origin)``, because `A` is symmetric.
    """
    W_enc.copy_(times(W_enc, read.scale) * length[:, None])
    b_enc.mul_(length)
    if read.origin is not None:
        b_enc.sub_(W_enc @ read.origin)


def fold_decoder(
    W_dec: Float[Tensor, "latent width"], b_dec: Float[Tensor, "width"], write: Units
) -> None:
    """Make ``f W + b`` in the units `write` a statement in the activations' own. In place."""
    W_dec.copy_(times(W_dec, write.inverse))
    b_dec.copy_(times(b_dec[None], write.inverse)[0])
    if write.origin is not None:
        b_dec.add_(write.origin)
