"""How often each node of a law is active: exact given what the nodes have in common."""

from __future__ import annotations

import torch

from monosemy.data.features.contests import stay_shares
from monosemy.data.features.law import Law, Rule
from monosemy.tensors.axes import Float, Tensor

# Points at which what the nodes have in common is sampled, and how many at a time.
_POINTS, _AT_ONCE = 4096, 256


def rates(law: Law) -> Float[Tensor, "node"]:
    """Share of samples on which each node is active.

    Given ``e``, what the nodes of a copula have in common, each fires by itself, so that rates
    follow down the forest:

        rate = rate of its parent · chance(e) · P(activation > 0) · P(it stays in its contest)

    Without correlation that is exact. With it, the mean is taken over 4,096 values of ``e`` from a
    scrambled Sobol sequence; roots stay exact.
    """
    alive = alive_shares(law)
    if not law.rank:
        return _given(law, law.chance.double()[None], alive)[0]
    total = torch.zeros(law.nodes, dtype=torch.float64)
    points = torch.quasirandom.SobolEngine(law.rank, scramble=True, seed=0).draw(_POINTS)
    normal = torch.special.ndtri(points.double().clamp(1e-9, 1 - 1e-9))
    for common in normal.split(_AT_ONCE):
        shift = common @ law.factor.double().T - law.thresholds
        chance = torch.special.ndtr(shift / law.remainder)
        chance = torch.where(law.sibling_rules == Rule.CHOICE, law.chance.double(), chance)
        total += _given(law, chance, alive).sum(0)
    roots = law.parents < 0
    return torch.where(roots, law.chance.double() * alive, total / _POINTS)


def alive_shares(law: Law) -> Float[Tensor, "node"]:
    """Share of a node's firings whose activation is above zero."""
    mean, spread = law.mean.double(), law.spread.double()
    if law.uniform:
        inside = ((mean + spread) / (2 * spread)).clamp(0, 1)
    else:
        inside = torch.special.ndtr(mean / spread)
    alive = torch.where(spread > 0, inside, (mean > 0).double())
    return torch.where(law.sibling_rules >= Rule.CIRCLE, 1.0, alive)


def _given(
    law: Law, chance: Float[Tensor, "point node"], alive: Float[Tensor, "node"]
) -> Float[Tensor, "point node"]:
    """Rates where nodes fire independently with these chances, given their parents."""
    stays = chance * alive
    contest = torch.where(law.sibling_rules == Rule.CONTEST, law.parents, -1)
    stays = stays * stay_shares(contest, stays)
    stays[:, law.sibling_rules >= Rule.CIRCLE] = 1.0
    for depth in range(1, int(law.depths.max()) + 1):
        here = (law.depths == depth).nonzero()[:, 0]
        stays[:, here] *= stays[:, law.parents[here]]
    return stays
