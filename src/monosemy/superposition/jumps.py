"""Whether two things change at the same moments, beside a null that shifts one against the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from monosemy.foundation.errors import UserError

Series = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Coincidence:
    """How much of what falls falls while something else moves most.

    Attributes
    ----------
    share : of the whole fall, in the `windows` windows in which the other moved most.
    shifted : the same with the two shifted against each other in time, a ring of all shifts.
    windows, n_windows : chosen, and of all.
    """

    share: float
    shifted: Series
    windows: int
    n_windows: int

    @property
    def chance(self) -> float:
        """Share of the shifts that do as well: a p value."""
        return float((self.shifted >= self.share).mean())


def coincidence(moved: Series, fell: Series, most: float = 0.1) -> Coincidence:
    """The share of all of `fell` in the windows (a share `most` of them) in which most `moved`.

    Parameters
    ----------
    moved, fell : how much something moved, and something else fell, in each window of time.

    Errors
    ------
    `UserError` for fewer than 20 windows, and where nothing falls.
    """
    if len(moved) < 20 or len(moved) != len(fell):
        raise UserError(
            f"{len(moved)} and {len(fell)} windows of time; wanted as many of both, at least 20: "
            "keep the weights more often"
        )
    total = fell.sum()
    if total <= 0:
        raise UserError("nothing falls over these windows; look at an earlier time")
    count = max(round(most * len(moved)), 1)
    chosen = np.argsort(-moved, kind="stable")[:count]
    shares = np.array([np.roll(fell, shift)[chosen].sum() / total for shift in range(len(fell))])
    return Coincidence(float(shares[0]), shares[1:], count, len(moved))
