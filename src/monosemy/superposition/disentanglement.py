"""Does every number of a code stand for one variable? DCI and the mutual information gap.

Both reward axes: a code that is turned scores low on them, while CCGP, parallelism and factorisation
stay as they are. A mixed code whose variables lie on directions of their own is high there, low here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from monosemy.foundation.errors import refuse
from monosemy.tensors.axes import Bool, Float, Int, Tensor
from monosemy.tensors.compute import Compute

Points = Float[Tensor, "point width"]
Labels = Int[Tensor, "point variable"]

BINS = 20
_TREES, _DEPTH = 20, 8


@dataclass(frozen=True)
class Disentangled:
    """Scores of a code; each is between 0 and 1.

    Attributes
    ----------
    disentanglement : whether each number of the code matters for one variable.
    completeness : whether each variable is told by one number.
    informativeness : share of held-out samples whose variables are predicted, mean over variables.
    chance : the share that guessing the commonest value gets.
    gap : mutual information gap (MIG).
    """

    disentanglement: float
    completeness: float
    informativeness: float
    chance: float
    gap: float

    def to_json(self) -> dict[str, Any]:
        """Every attribute."""
        return dict(vars(self))


def disentangled(
    x: Points, labels: Labels, half: Bool[Tensor, "point"], compute: Compute
) -> Disentangled:
    """All scores; readers are fitted on `half` and held against the rest.

    Errors
    ------
    `UserError` for a variable with one value.
    """
    constant = [f"variable {number} has one value in these samples; wanted at least two"
                for number, column in enumerate(labels.T) if len(column.unique()) < 2]  # fmt: skip
    refuse(constant, "these labels")
    R, right, chance = importances(x, labels, half, compute)
    return Disentangled(
        disentanglement(R), disentanglement(R.T), right, chance, information_gap(x, labels)
    )


def importances(
    x: Points, labels: Labels, half: Bool[Tensor, "point"], compute: Compute
) -> tuple[Float[Tensor, "width variable"], float, float]:
    """How much each number matters for each variable; share predicted; share guessed.

    Importances are those of extremely randomised trees, the depth of which is bounded (Eastwood and
    Williams 2018 use random forests).
    """
    from sklearn.ensemble import ExtraTreesClassifier

    columns, right, chance = [], [], []
    for number in range(labels.shape[1]):
        seed = compute.generator(f"trees/{number}").initial_seed() % 2**32
        y = labels[:, number].numpy()
        fitted, held = half.numpy(), (~half).numpy()
        trees = ExtraTreesClassifier(_TREES, max_depth=_DEPTH, random_state=seed, max_features=None)
        trees.fit(x.numpy()[fitted], y[fitted])
        columns.append(trees.feature_importances_)
        right.append(float((trees.predict(x.numpy()[held]) == y[held]).mean()))
        chance.append(float(np.bincount(y[held]).max() / held.sum()))
    R = torch.from_numpy(np.stack(columns, 1))
    return R, float(np.mean(right)), float(np.mean(chance))


def disentanglement(R: Float[Tensor, "_ other"]) -> float:
    """``Σ_i ρ_i (1 - H(R_i / ΣR_i) / ln n)``, ρ_i the share of row i in all importance.

    Completeness is the same of the transpose (Eastwood and Williams 2018).
    """
    rows = R.double().clamp_min(0)
    sums = rows.sum(1)
    shares = rows / sums[:, None].clamp_min(1e-30)
    entropy = -torch.xlogy(shares, shares).sum(1) / math.log(R.shape[1])
    return float(((1 - entropy) * sums).sum() / sums.sum().clamp_min(1e-30))


def information_gap(x: Points, labels: Labels) -> float:
    """Mean over variables of (largest - second largest mutual information) / entropy.

    The mutual information gap of Chen et al. 2018. Each number of the code is cut into 20 bins of as
    many samples (fewer where values repeat).
    """
    from sklearn.metrics import mutual_info_score

    bins = [_binned(column) for column in x.double().T.numpy()]
    gaps = []
    for number in range(labels.shape[1]):
        y = labels[:, number].numpy()
        information = sorted((mutual_info_score(y, cut) for cut in bins), reverse=True)
        second = information[1] if len(information) > 1 else 0.0
        gaps.append((information[0] - second) / mutual_info_score(y, y))
    return float(np.mean(gaps))


def _binned(column: np.ndarray) -> np.ndarray:
    edges = np.unique(np.quantile(column, np.linspace(0, 1, BINS + 1)[1:-1]))
    return np.searchsorted(edges, column, side="right")
