"""How well latents detect features: precision, recall and F1, two ways of pairing them.

By *direction*: each latent is held to the feature that its decoder row is nearest to, so several
latents may share one; the mean is over latents. As SAELens' synthetic evaluations define it, but
for features that share one direction, see `nearest`.

By *assignment*: latents and features are paired one to one so that the sum of F1 is largest; the
mean is over features (of a level) where those without a latent count 0, or over all pairs.

``F1 = 2 tp / (fires + on)``: tokens on which both, the latent, the feature is active; 0 where
neither ever is. It is the harmonic mean of precision ``tp / fires`` and recall ``tp / on``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from monosemy.evaluation.results import Metric
from monosemy.evaluation.sums import Totals
from monosemy.tensors.axes import Bool, Float, Int, Tensor
from monosemy.tensors.firings import Firings
from monosemy.tensors.matching import Scores, blocks

# Of a cosine in float32.
_ROUNDING = 1e-6


def f1(tp: np.ndarray, fires: np.ndarray, on: np.ndarray) -> np.ndarray:
    """``2 tp / (fires + on)``, 0 where neither is ever active."""
    return _ratio(2 * tp, fires + on)


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.where(below > 0, above / np.where(below > 0, below, 1), 0.0)


# --- by direction --------------------------------------------------------------------------------


def nearest(cosines: Scores, f1_table: Scores) -> Int[Tensor, "latent"]:
    """The feature that each latent's direction is nearest to.

    Worlds may write several features along one direction (children that are analogies of each
    other): of those that are equally near, up to rounding, the one that the latent detects best.
    """
    found = []
    for chosen in blocks(cosines):
        rows = cosines.rows(chosen)
        best = rows.max(1)
        tied = (rows >= best.values[:, None] - _ROUNDING).sum(1) > 1
        place = best.indices.clone()
        if tied.any():
            near = rows[tied] >= best.values[tied, None] - _ROUNDING
            scores = f1_table.rows(chosen[tied]).masked_fill(~near, -1.0)
            place[tied] = scores.argmax(1)
        found.append(place)
    return torch.cat(found)


def _f1(t: Totals) -> np.ndarray:
    return f1(t["tp"], t["fires"], t["on"]).mean(-1)


def _precision(t: Totals) -> np.ndarray:
    return _ratio(t["tp"], t["fires"]).mean(-1)


def _recall(t: Totals) -> np.ndarray:
    return _ratio(t["tp"], t["on"]).mean(-1)


def _accuracy(t: Totals) -> np.ndarray:
    wrong = t["fires"] + t["on"] - 2 * t["tp"]
    return 1 - wrong.mean(-1) / t["tokens"]


BY_DIRECTION = {
    "f1": Metric(_f1),
    "precision": Metric(_precision),
    "recall": Metric(_recall),
    "accuracy": Metric(_accuracy),
}
"""Means over latents, each held to the feature nearest to its direction."""


# --- by assignment -------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class F1Table:
    """F1 of every latent (row) with every feature (column), counted when rows are asked for."""

    latents: Firings
    features: Firings

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.latents.columns, self.features.columns

    @property
    def transposed(self) -> F1Table:
        """The same table, columns as rows."""
        return F1Table(self.features, self.latents)

    def rows(self, chosen: Int[Tensor, "chosen"]) -> Float[Tensor, "chosen column"]:
        """The rows `chosen`, written out."""
        both = self.latents.together_with(self.features, chosen).double()
        either = self.latents.counts[chosen][:, None] + self.features.counts
        return 2 * both / either.clamp_min(1)


def mean_over(chosen: Bool[Tensor, "feature"], undefined: str) -> Metric:
    """Mean assigned F1 of the `chosen` features; those without a latent count 0."""
    mask = chosen.numpy()

    def formula(t: Totals) -> np.ndarray:
        found = f1(t["hit"][:, mask], t["fired"][:, mask], t["true"][:, mask])
        return found.sum(-1) / (mask.sum() or np.nan)

    return Metric(formula, undefined)


def mean_over_pairs(pairs: int) -> Metric:
    """Mean assigned F1 over all pairs: as many as the smaller side has."""

    def formula(t: Totals) -> np.ndarray:
        return f1(t["hit"], t["fired"], t["true"]).sum(-1) / pairs

    return Metric(formula)


def by_level(levels: Int[Tensor, "feature"], parents: Int[Tensor, "feature"]) -> dict[str, Metric]:
    """``parent_f1`` over features that have children, ``child_f1`` over those that have a parent.

    And ``level_n_f1`` over the features with ``n`` ancestors.
    """
    has_child = torch.zeros_like(parents, dtype=torch.bool)
    has_child[parents[parents >= 0]] = True
    nothing = "the world has no hierarchy"
    found = {
        "parent_f1": mean_over(has_child, nothing),
        "child_f1": mean_over(parents >= 0, nothing),
    }
    for level in levels.unique().tolist():
        found[f"level_{level}_f1"] = mean_over(levels == level, nothing)
    return found
