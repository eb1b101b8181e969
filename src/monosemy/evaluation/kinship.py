"""What becomes of parents beside their children: silent parents, absorption, hedging.

A feature *has a latent* where one is assigned to it (by F1, one to one) and the two ever fire
together. ``p`` is a parent, ``c`` a child, ``l(.)`` their latents; pairs count where both have one.
"""

from __future__ import annotations

import warnings

import numpy as np
import torch
from torch import nn

from monosemy.evaluation.results import Metric
from monosemy.evaluation.sums import Totals, positive
from monosemy.tensors.axes import Float, Int, Tensor
from monosemy.tensors.firings import Firings, firing, pattern_counts

_NO_PAIR = "no parent and child both have a latent"
_APART = "no parent is active while the latent of its child fires"


def silent_parent_rate(t: Totals) -> np.ndarray:
    """Share of a child's firings on which the latent of its parent is silent, over all pairs.

    ``1 - Σ #{l(c) and l(p) fire} / Σ #{l(c) fires}``. What is on in truth does not matter.
    """
    return 1 - t["kin_both"].sum(-1) / positive(t["kin_child"].sum(-1))


def absorption(t: Totals) -> np.ndarray:
    """Share of silence of a parent that is on, while its child's latent fires: mean over pairs.

    ``#{p on, l(c) fires, l(p) silent} / #{p on, l(c) fires}``. Absorption (Chanin et al. 2024)
    directly: the child's latent has taken over what the parent's should say.
    """
    silent = t["kin_on_child"] - t["kin_on_both"]
    return _mean_of_defined(silent, t["kin_on_child"])


def parent_miss_rate(t: Totals) -> np.ndarray:
    """The same while the child's latent is silent too: what `absorption` is to be compared with."""
    on = t["kin_on"] - t["kin_on_child"]
    return _mean_of_defined(on - (t["kin_on_parent"] - t["kin_on_both"]), on)


METRICS = {
    "silent_parent_rate": Metric(silent_parent_rate, _NO_PAIR),
    "absorption": Metric(absorption, _APART),
    "parent_miss_rate": Metric(parent_miss_rate, _APART),
}


def _mean_of_defined(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of a mean of nothing, which is NaN
        return np.nanmean(above / positive(below), axis=-1)


def sums(
    latents: Firings, features: Firings, latent_of: Int[Tensor, "feature"],
    parents: Int[Tensor, "feature"], size: int,
) -> dict[str, np.ndarray]:  # fmt: skip
    """What the metrics are made of: by block of `size` tokens, for each pair.

    Parameters
    ----------
    latent_of : the latent that each feature has; -1 for none.
    parents : of each feature; -1 for none.
    """
    child = (parents >= 0).nonzero().flatten()
    parent = parents[child]
    both = (latent_of[child] >= 0) & (latent_of[parent] >= 0)
    child, parent = child[both], parent[both]
    places = [(features, parent), (latents, latent_of[parent]), (latents, latent_of[child])]
    counts = pattern_counts(places, size)
    patterns = {
        "kin_on": (0,),
        "kin_child": (2,),
        "kin_both": (1, 2),
        "kin_on_parent": (0, 1),
        "kin_on_child": (0, 2),
        "kin_on_both": (0, 1, 2),
    }
    return {name: firing(counts, *where).numpy() for name, where in patterns.items()}


def hedging(
    directions: Float[Tensor, "latent width"],
    features: Float[Tensor, "feature width"],
    latent_of: Int[Tensor, "feature"],
    parents: Int[Tensor, "feature"],
) -> Float[Tensor, "chosen"]:
    """How much of a latent points along the relatives of its feature, for each that has both.

    ``|P w|²``, where ``w`` is the latent's unit decoder row and ``P`` projects onto what the
    directions of its feature's parent and children span, their part along the feature itself taken
    out. 0 where the latent is its feature plus anything unrelated, 1 where it is made of relatives
    alone; a random direction has ``rank P / width``. Hedging (Chanin et al. 2025): where there are
    too few latents, one mixes in features that are correlated with its own.
    """
    found = []
    for feature, relatives in _relatives(parents):
        has = latent_of[feature] >= 0
        feature, relatives = feature[has], relatives[has]
        w = nn.functional.normalize(directions[latent_of[feature]].double(), dim=1)
        own = features[feature].double()
        others = features[relatives].double()
        others = others - (others @ own[:, :, None]) * own[:, None]
        along = (others @ w[:, :, None])[..., 0]
        gram = others @ others.mT
        # Children may lie in fewer dimensions than there are: a tetrahedron's four span three.
        inverse = torch.linalg.pinv(gram, rtol=1e-6, hermitian=True)
        found.append((along[:, None] @ inverse @ along[:, :, None])[:, 0, 0])
    return torch.cat(found) if found else torch.zeros(0, dtype=torch.float64)


def _relatives(
    parents: Int[Tensor, "feature"],
) -> list[tuple[Int[Tensor, "chosen"], Int[Tensor, "chosen relative"]]]:
    """Features with their parent and children, those with equally many together."""
    child = (parents >= 0).nonzero().flatten()
    one, other = torch.cat([child, parents[child]]), torch.cat([parents[child], child])
    order = one.argsort(stable=True)
    one, other = one[order], other[order]
    counts = torch.bincount(one, minlength=len(parents))
    found = []
    for count in counts[counts > 0].unique().tolist():
        chosen = (counts == count).nonzero().flatten()
        found.append((chosen, other[counts[one] == count].view(len(chosen), count)))
    return found
