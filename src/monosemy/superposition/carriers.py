"""Which features of a dictionary carry the offset of a relation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from monosemy.tensors.axes import Float, Int, Tensor

MOST = 8


@dataclass(frozen=True, eq=False)
class Carriers:
    """The latents that change most between the two sides of a relation.

    Attributes
    ----------
    latents : by what they write of the mean offset, largest first.
    change : mean change of each, from first words to second.
    steady : share of pairs in which it changes with that sign.
    explained : share of the mean offset's squared length that the latents down to each write.
    active : latents that change in any pair.
    """

    latents: Int[Tensor, "chosen"]
    change: Float[Tensor, "chosen"]
    steady: Float[Tensor, "chosen"]
    explained: Float[Tensor, "chosen"]
    active: int

    def to_json(self) -> dict[str, Any]:
        """``{active, latents: [{latent, change, steady, explained}]}``."""
        rows = zip(
            self.latents.tolist(), self.change.tolist(), self.steady.tolist(),
            self.explained.tolist(), strict=True,
        )  # fmt: skip
        names = ("latent", "change", "steady", "explained")
        return {
            "active": self.active,
            "latents": [dict(zip(names, row, strict=True)) for row in rows],
        }


def carriers(
    first: Float[Tensor, "pair latent"], second: Float[Tensor, "pair latent"],
    directions: Float[Tensor, "latent width"], offset: Float[Tensor, "width"], most: int = MOST,
) -> Carriers:  # fmt: skip
    """Take a mean offset apart into latents: ``o ≈ Σ_l mean(f_l(b) - f_l(a)) d_l``.

    Parameters
    ----------
    first, second : codes of the two words of each pair.
    directions : decoder rows.
    offset : mean of ``b - a`` in activations.
    most : latents to name at most.
    """
    change = second - first
    mean = change.mean(0)
    order = (mean.abs() * directions.norm(dim=1)).argsort(descending=True, stable=True)
    chosen = order[: min(most, int((mean != 0).sum()))]
    written = (mean[chosen, None] * directions[chosen]).cumsum(0)
    left = (offset - written).square().sum(1) / offset.square().sum().clamp_min(1e-30)
    steady = (change[:, chosen].sign() == mean[chosen].sign()).float().mean(0)
    active = int((change != 0).any(0).sum())
    return Carriers(chosen, mean[chosen], steady, 1 - left, active)
