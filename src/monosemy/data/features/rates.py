"""How often each node of a law is active: exact given what the nodes have in common."""

from __future__ import annotations

import torch

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
    stays = stays * contest_shares(law, stays)
    stays[:, law.sibling_rules >= Rule.CIRCLE] = 1.0
    for depth in range(1, int(law.depths.max()) + 1):
        here = (law.depths == depth).nonzero()[:, 0]
        stays[:, here] *= stays[:, law.parents[here]]
    return stays


def contest_shares(law: Law, active: Float[Tensor, "point node"]) -> Float[Tensor, "point node"]:
    """Probability that a node which is active stays in its contest; 1 outside contests.

    Of ``1 + K`` active siblings each stays with probability ``1 / (1 + K)``, and

        E[1 / (1 + K)]  =  integral over t from 0 to 1 of  product over siblings j of (1 - p_j + p_j t)

    because ``E[t^K]`` is that product. It is a polynomial, so Gauss-Legendre points give it exactly.
    """
    shares = torch.ones_like(active)
    contested = (law.rules == Rule.CONTEST).nonzero()[:, 0]
    bounds, children = law.families
    sizes = (bounds[1:] - bounds[:-1])[contested]
    for size in sizes.unique().tolist():
        if size < 2:
            continue
        starts = bounds[:-1][contested[sizes == size]]
        family = children[starts[:, None] + torch.arange(size)]  # (families, size)
        shares[:, family] = _stays(active[:, family])
    return shares


def _stays(active: Float[Tensor, "point family child"]) -> Float[Tensor, "point family child"]:
    size = active.shape[2]
    total = torch.zeros_like(active)
    for t, weight in _legendre(-(-size // 2)):
        factors = 1 - active + active * t
        # The product over the others: all before times all after.
        before = torch.ones_like(factors)
        after = torch.ones_like(factors)
        before[:, :, 1:] = factors[:, :, :-1].cumprod(2)
        after[:, :, :-1] = factors.flip(2)[:, :, :-1].cumprod(2).flip(2)
        total += weight * before * after
    return total


def _legendre(count: int) -> list[tuple[float, float]]:
    """Points and weights on [0, 1], exact for polynomials of degree ``2 count - 1``."""
    size = torch.arange(1, count, dtype=torch.float64)
    beside = size / (4 * size.square() - 1).sqrt()
    jacobi = torch.diag(beside, 1) + torch.diag(beside, -1)
    points, vectors = torch.linalg.eigh(jacobi)
    weights = vectors[0].square()
    return list(zip(((points + 1) / 2).tolist(), weights.tolist(), strict=True))
