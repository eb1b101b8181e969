"""What a sharing curve says: its knee if it has one, how many charts do for 90 %, and a verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from monosemy.evaluation.results import Estimate, percentiles, resamples
from monosemy.tensors.axes import Float, Tensor

# A knee rises at least this far above the chord. Curves that are merely bent, because some parents
# leave over more than others, stayed below it on every world where no knee was planted.
CLEAR = 0.7
# Of several numbers of charts that are nearly as high above the chord, the fewest: a curve that is
# flat after its knee wavers.
_NEARLY = 0.98
# The share of the energy that `s90` asks for.
_MOST = 0.9
# The verdict asks for at most this part of the charts that a null needs.
HALF = 0.5


@dataclass(frozen=True, eq=False)
class Curve:
    """Energy by number of charts, of each parent; see `sharing.energies`.

    Attributes
    ----------
    energies : ``energies[S - 1]`` captured by S charts.
    total : energy of everything that parents leave over, weighed alike.
    """

    energies: Float[Tensor, "charts bearer"]
    total: float

    @property
    def parents(self) -> int:
        """Of them."""
        return self.energies.shape[1]

    @property
    def sums(self) -> Float[Tensor, "charts"]:
        """``E(S)``."""
        return self.energies.sum(1)

    @property
    def relative(self) -> list[float] | None:
        """``E(S) / E(P)``; nothing where a chart for each parent captures nothing."""
        own = float(self.sums[-1])
        return (self.sums / own).tolist() if own > 0 else None

    @property
    def captured(self) -> list[float]:
        """``E(S)`` as a share of all energy that is left over."""
        return (self.sums / self.total).tolist()

    def resampled(self, seed: int) -> Float[Tensor, "resample charts"]:
        """``E(S)`` of parents drawn again with replacement, by the charts that were found.

        Charts are not found again: a parent drawn twice would share one with itself.
        """
        energies = self.energies.double().numpy()
        drawn = [weights @ energies.T for weights in resamples(self.parents, seed)]
        return torch.from_numpy(np.concatenate(drawn))


def heights(sums: Float[Tensor, "*curves charts"]) -> Float[Tensor, "*curves charts"]:
    """How far each point lies above the straight line from the first to the last.

    Both axes are scaled to one (Satopää et al. 2011, "kneedle"), and a curve is as high as the
    highest point so far: with fewer charts one can do what one can with them.
    """
    sums = sums.cummax(-1).values
    first, last = sums[..., :1], sums[..., -1:]
    along = torch.linspace(0, 1, sums.shape[-1], dtype=sums.dtype)
    rise = last - first
    scaled = torch.where(rise > 0, (sums - first) / rise.clamp_min(1e-30), torch.ones_like(sums))
    return scaled - along


def bend(sums: Float[Tensor, "*curves charts"]) -> tuple[Tensor, Tensor]:
    """The number of charts where the curve bends most, and how high it is above the chord there."""
    above = heights(sums)
    top = above.max(-1, keepdim=True).values
    return (above >= _NEARLY * top).int().argmax(-1) + 1, top[..., 0]


def charts_for_most(sums: Float[Tensor, "*curves charts"]) -> Tensor:
    """S90: the fewest charts that capture 90 % of the most that any number of them does."""
    most = sums.max(-1, keepdim=True).values
    return (sums >= _MOST * most).int().argmax(-1) + 1


@dataclass(frozen=True, eq=False)
class Findings:
    """A curve beside the same of turned covariances.

    Attributes
    ----------
    curve, turned : the data's, and a draw of the null each.
    seed : of the resamples.
    """

    curve: Curve
    turned: Sequence[Curve]
    seed: int = 0

    @property
    def clear(self) -> bool:
        """Whether there is any energy that charts capture, beyond the doubt of parents drawn again."""
        most = self.curve.resampled(self.seed).max(1).values.numpy()
        return percentiles(most)[0] > 0 and float(self.curve.sums[-1]) > 0

    @property
    def height(self) -> float:
        """Of the bend above the chord."""
        return float(bend(self.curve.sums)[1])

    @property
    def null_heights(self) -> np.ndarray:
        """Of each draw."""
        return np.array([float(bend(one.sums)[1]) for one in self.turned])

    @property
    def null_s90(self) -> np.ndarray:
        """Charts for 90 % of the energy, of each draw."""
        return np.array([int(charts_for_most(one.sums)) for one in self.turned])

    def knee(self) -> Estimate:
        """Where the curve bends, if it does: higher than `CLEAR`, and than 95 % of the null's draws."""
        if not self.clear:
            return Estimate(None, note="what parents leave over hardly depends on the parent")
        least = max(CLEAR, float(np.quantile(self.null_heights, 0.95)))
        if self.height <= least:
            return Estimate(None, note=f"no knee: {self.height:.2f} above the chord; wanted more "
                            f"than {least:.2f}")  # fmt: skip
        return self._estimate(lambda sums: bend(sums)[0])

    def s90(self) -> Estimate:
        """Charts for 90 % of the energy."""
        return self._estimate(charts_for_most)

    def _estimate(self, number: Any) -> Estimate:
        drawn = number(self.curve.resampled(self.seed)).double().numpy()
        return Estimate(int(number(self.curve.sums)), *percentiles(drawn))

    def to_json(self) -> dict[str, Any]:
        """``{parents, curve, captured, height, knee, s90, rotated}``."""
        return {
            "parents": self.curve.parents,
            "curve": self.curve.relative,
            "captured": self.curve.captured,
            "height": self.height,
            "knee": self.knee().to_json(),
            "s90": self.s90().to_json(),
            "rotated": self._rotated() if len(self.turned) else None,
        }

    def _rotated(self) -> dict[str, Any]:
        sums = torch.stack([one.sums for one in self.turned]).double().numpy()
        low, middle, high = np.quantile(sums / max(float(self.curve.sums[-1]), 1e-30),
                                        [0.05, 0.5, 0.95], axis=0)  # fmt: skip
        return {
            "draws": len(self.turned),
            "curve": {"low": low.tolist(), "median": middle.tolist(), "high": high.tolist()},
            "s90": _spread(self.null_s90),
            "height": _spread(self.null_heights),
        }


def verdict(own: Findings, others: Mapping[str, Findings | None]) -> dict[str, Any]:
    """``{used, words}``: whether parents share, as far as the nulls allow to say it.

    Local superposition is used where 90 % of the energy takes at most half of the charts, a parent,
    that it takes in every null: turned covariances (95 % of the draws), and `others` by name, such as
    a model with random weights; `None` for one that there is not.
    """
    if not own.clear:
        return {
            "used": False,
            "words": "nothing to share: what parents leave over hardly depends on the parent",
        }
    share = float(charts_for_most(own.curve.sums)) / own.curve.parents
    nulls = {"independently turned covariances":
             float(np.quantile(own.null_s90, 0.05)) / own.curve.parents}  # fmt: skip
    for name, found in others.items():
        if found is not None and found.clear:
            nulls[name] = float(charts_for_most(found.curve.sums)) / found.curve.parents
    missing = [name for name, found in others.items() if found is None]
    failed = [name for name, null in nulls.items() if share > HALF * null]
    beside = "; ".join(f"{name} {null:.1%}" for name, null in nulls.items())
    said = f"90 % of the energy takes {share:.1%} as many charts as parents ({beside})"
    if failed:
        more = f"more than half of what {' and '.join(failed)} take"
        words = f"no evidence of local superposition: {said}, {more}"
    else:
        words = f"local superposition is used: {said}, at most half of every null's"
    words += "".join(f"; without {name}, which there is none of here" for name in missing)
    return {"used": not failed, "words": words}


def _spread(values: np.ndarray) -> dict[str, float]:
    low, middle, high = (float(v) for v in np.quantile(values, [0.05, 0.5, 0.95]))
    return {"value": middle, "low": low, "high": high}
