"""The phase diagram of superposition in closed form: n = 2 features in m = 1 number, and 3 in 2.

Features are 0 but for a share s of samples (density), and else uniform on [0, 1]. All have importance
1 but one, the extra feature, which has r. An ideal code, without bias, costs (Elhage et al. 2022,
arXiv:2209.10652, its notebook of exact models; per feature left out ``E x² - s²/4`` since the bias
still learns the mean):

==================================  ======================
what is done                        loss
==================================  ======================
the extra feature is ignored        ``r (s/3 - s²/4)``
it shares one dimension             ``(1 + r) s²/6``
another feature is ignored          ``s/3 - s²/4``
two others share (3 in 2 only)      ``s²/3``
==================================  ======================

Sharing is an antipodal pair: two features on one line, opposite. Of 2 in 1 all but the last is
possible. The smallest loss says the phase.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from monosemy.foundation.errors import UserError

Grid = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
Which = npt.NDArray[np.bool_]

IGNORED, SHARED, ALONE = 0, 1, 2
PHASES = ("ignored", "in superposition", "its own dimension")
"""What becomes of the extra feature, by its number."""
MEETING = 4 / 7
"""The density at which the three phases of 2 in 1 meet, at r = 1; above it nothing is shared."""


def losses(density: Grid, importance: Grid, features: int) -> Grid:
    """Losses of the explicit solutions, the last axis in the order of the table above.

    Errors
    ------
    `UserError` for other than 2 or 3 features.
    """
    if features not in (2, 3):
        raise UserError(f"no closed form for {features} features; known: 2 in 1, and 3 in 2")
    s, r = np.broadcast_arrays(density, importance)
    left_out = s / 3 - s**2 / 4
    rows = [r * left_out, (1 + r) * s**2 / 6, left_out]
    if features == 3:
        rows.append(s**2 / 3)
    return np.stack(rows, -1)


def phase(density: Grid, importance: Grid, features: int) -> Labels:
    """Which of `PHASES` is best, by the closed form."""
    best = losses(density, importance, features).argmin(-1)
    # Whoever else is ignored or shares, the extra feature then has its own dimension.
    return np.minimum(best, ALONE).astype(np.int64)


def boundary(density: Grid) -> tuple[Grid, Grid]:
    """Importances between which 2 in 1 share a line: ``2s / (4 - 5s)`` and its inverse.

    NaN above the density `MEETING`. Of 3 in 2 the lower one is the same.
    """
    s = np.asarray(density, dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        low = np.where(s <= MEETING, 2 * s / (4 - 5 * s), np.nan)
        return low, 1 / low


def near_boundary(density: Grid, importance: Grid, features: int, band: float = 0.1) -> Which:
    """Whether a step of `band` (a share) in density or importance leads to another phase."""
    here = phase(density, importance, features)
    near = np.zeros(here.shape, dtype=bool)
    for factor in (1 - band, 1 + band):
        near |= phase(np.minimum(density * factor, 1.0), importance, features) != here
        near |= phase(density, importance * factor, features) != here
    return near


def learned_phase(weights: Grid, represented: float = 0.5, swamped: float = 0.25) -> Labels:
    """Which of `PHASES` learned models show.

    The extra feature, the last, is ignored where the length of its column is below `represented`, in
    superposition where ``sum_j (Ŵ_e . W_j)²`` over the others is above `swamped`, else alone.

    Parameters
    ----------
    weights : (..., hidden, feature).
    """
    extra, others = weights[..., -1], weights[..., :-1]
    length = np.sqrt((extra**2).sum(-1))
    unit = extra / np.maximum(length, 1e-12)[..., None]
    overlap = (np.einsum("...h,...hf->...f", unit, others) ** 2).sum(-1)
    return np.where(length < represented, IGNORED, np.where(overlap > swamped, SHARED, ALONE))


@dataclass(frozen=True)
class Agreement:
    """How many cells away from the band show the phase of the closed form.

    Attributes
    ----------
    cells, away, agree : of the grid, of them away from the boundary, of those in agreement.
    """

    cells: int
    away: int
    agree: int

    @property
    def share(self) -> float:
        """Of the cells away from the boundary."""
        return self.agree / self.away


def agreement(
    learned: Labels, density: Grid, importance: Grid, features: int, band: float = 0.1
) -> Agreement:
    """Learned phases beside the closed form's, boundary band left out.

    Errors
    ------
    `UserError` where every cell lies in the band.
    """
    density, importance = np.broadcast_arrays(density, importance)
    away = ~near_boundary(density, importance, features, band)
    if not away.any():
        raise UserError(
            f"all {away.size} cells lie within {band:.0%} of a boundary; wanted at least one away "
            "from it: give a wider grid"
        )
    same = learned == phase(density, importance, features)
    return Agreement(away.size, int(away.sum()), int((same & away).sum()))
