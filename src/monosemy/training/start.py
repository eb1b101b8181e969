"""A start that depends on the data: where the activations lie and how large they are."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from monosemy.foundation.errors import UserError
from monosemy.tensors.axes import Activations, Float, Tensor

CENTRES = ("geometric_median", "mean", "zero")
DIRECTIONS = ("data", "random")


@dataclass(frozen=True, eq=False)
class Start:
    """What a sample of activations says about the start.

    Attributes
    ----------
    centre : where `b_dec` begins, in the activations' own units.
    scale : ``sqrt(width) / E|x - centre|``; activations are multiplied by it while training, so
        that the same learning rate serves every site. It folds away on saving.
    variance : ``E|x - E x|²`` in the scaled units: the loss is measured against it.
    outlier_ratio : ``|E x| / sqrt(E|x - E x|² )``. The further the mean stands out from the spread,
        the more latents die (arXiv:2605.31518); centring mends it.
    """

    centre: Float[Tensor, "width"]
    scale: float
    variance: float
    outlier_ratio: float


def look(rows: Activations, centre: str = "geometric_median") -> Start:
    """Measure a `Start` on `rows`.

    Errors
    ------
    `UserError` for an unknown kind of centre, and where every row is the same.
    """
    if centre not in CENTRES:
        raise UserError(f"unknown centre {centre!r}; known: {', '.join(CENTRES)}")
    mean = rows.mean(0)
    spread = (rows - mean).square().sum(1).mean()
    # Rounding makes the mean of equal rows differ from them, so the spread alone cannot tell.
    if bool((rows == rows[0]).all()) or not spread > 0:
        raise UserError(
            f"all {len(rows):,} sampled activations are the same; a dictionary has nothing to "
            "learn there. Name another site"
        )
    begin = {"mean": mean, "zero": torch.zeros_like(mean)}.get(centre)
    begin = geometric_median(rows) if begin is None else begin
    scale = rows.shape[1] ** 0.5 / float((rows - begin).norm(dim=1).mean())
    return Start(
        centre=begin,
        scale=scale,
        variance=float(spread) * scale**2,
        outlier_ratio=float(mean.norm() / spread.sqrt()),
    )


def geometric_median(rows: Activations, rounds: int = 100, tolerance: float = 1e-6) -> Tensor:
    """The point with the smallest summed distance to `rows` (Weiszfeld 1937).

    ``m <- sum(x / |x - m|) / sum(1 / |x - m|)``, until a round moves it by less than `tolerance`
    of its distance from the mean of `rows`, plus the spread.
    """
    median = rows.mean(0)
    size = float((rows - median).norm(dim=1).mean())
    for _ in range(rounds):
        # A point that coincides with the median would divide by zero: keep a floor far below size.
        weights = 1 / (rows - median).norm(dim=1).clamp_min(1e-9 * max(size, 1e-30))
        moved = (weights @ rows) / weights.sum()
        step, median = float((moved - median).norm()), moved
        if step <= tolerance * size:
            break
    return median


def sample_directions(
    rows: Activations, count: int, generator: torch.Generator, noise: float = 0.1
) -> Float[Tensor, "latent width"]:
    """Unit directions that point at sampled activations, so that every latent begins near data.

    ``normalise(x / |x| + noise · e / |e|)`` for rows ``x`` (centred) drawn without repeats while
    they last; the noise tells repeated rows apart.
    """
    drawn = torch.cat([torch.randperm(len(rows), generator=generator)
                       for _ in range(-(-count // len(rows)))])[:count]  # fmt: skip
    jitter = torch.randn(count, rows.shape[1], generator=generator).to(rows)
    unit = torch.nn.functional.normalize
    return unit(unit(rows[drawn], dim=1) + noise * unit(jitter, dim=1), dim=1)
