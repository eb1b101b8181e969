"""A start that depends on the data: where the activations lie and how large they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from monosemy.dictionaries.units import Units, times
from monosemy.foundation.errors import UserError
from monosemy.tensors.axes import Activations, Float, Tensor

CENTRES = ("geometric_median", "mean", "zero")
DIRECTIONS = ("data", "random")


# Variances below this share of their mean are noise, which whitening would blow up.
_LEAST_VARIANCE = 1e-3


@dataclass(frozen=True, eq=False)
class Start:
    """What a sample of activations says about the start.

    Attributes
    ----------
    centre : where each number's middle lies, in the activations' own units.
    units : what a dictionary learns in. ``sqrt(width) / E|x - centre|`` is the factor, so that the
        same learning rate serves every site; whitened, the inverse root of the covariance. They
        fold away on saving.
    variance : ``E|x - E x|²`` of what is written, in these units: the loss is measured against it.
    outlier_ratio : ``|E x| / sqrt(E|x - E x|² )``, the largest of all parts. The further the mean
        stands out from the spread, the more latents die (arXiv:2605.31518); centring mends it.
    """

    centre: Float[Tensor, "width"]
    units: Units
    variance: float
    outlier_ratio: float

    @property
    def offset(self) -> Float[Tensor, "width"]:
        """The centre in the units of learning: where `b_dec` begins."""
        return times(self.centre[None], self.units.scale)[0]

    def centred(self, rows: Activations) -> Activations:
        """`rows` about their centre, in the units of learning."""
        return times(rows - self.centre, self.units.scale)


def look(
    rows: Activations,
    centre: str = "geometric_median",
    parts: Sequence[int] = (),
    read: int = 0,
    whiten: bool = False,
) -> Start:
    """Measure a `Start` on `rows`.

    Parameters
    ----------
    rows : a sample of activations.
    centre : one of `CENTRES`.
    parts : widths of the sites that lie side by side, each scaled by itself; none for one site.
    read : numbers that are only read; the others are written. 0 where all are both.
    whiten : take out the covariance too (one site that is read and written).

    Errors
    ------
    `UserError` for an unknown kind of centre, and where every row of a part is the same.
    """
    if centre not in CENTRES:
        raise UserError(f"unknown centre {centre!r}; known: {', '.join(CENTRES)}")
    columns = torch.split(rows, list(parts) or [rows.shape[1]], dim=1)
    looks = [_look_at(part, centre) for part in columns]
    middle = torch.cat([found[0] for found in looks])
    if whiten:
        units = _whitening(rows)
    elif len(looks) == 1:
        units = Units.scaled(torch.tensor(looks[0][1], dtype=torch.float64))
    else:
        factors = [
            torch.full((part.shape[1],), f[1]) for part, f in zip(columns, looks, strict=True)
        ]
        units = Units.scaled(torch.cat(factors).to(rows))
    if read:  # what is only read is centred once and for all: no offset of it is learned
        origin = torch.cat([middle[:read], torch.zeros_like(middle[read:])])
        units = Units(units.scale, units.inverse, origin)
    scaled = units.apply(rows)[:, read:]
    variance = (scaled - scaled.mean(0)).square().sum(1).mean()
    return Start(middle, units, float(variance), max(found[2] for found in looks))


def _look_at(rows: Activations, centre: str) -> tuple[Tensor, float, float]:
    """Centre, scale and outlier ratio of one site."""
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
    return begin, scale, float(mean.norm() / spread.sqrt())


def _whitening(rows: Activations) -> Units:
    """``A = Cov^(-1/2)``, the symmetric root, with small variances held up (arXiv:2511.13981)."""
    values, axes = torch.linalg.eigh(torch.cov(rows.T.double()))
    roots = values.clamp_min(_LEAST_VARIANCE * values.mean()).sqrt()
    return Units(((axes / roots) @ axes.T).to(rows), ((axes * roots) @ axes.T).to(rows))


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
