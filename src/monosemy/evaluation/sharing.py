"""Do parents share local subspaces? What few charts capture of samples that did not choose them.

What a parent leaves over while it is active has a covariance of its own, ``S_p = Cov_p - Cov_all``.
``E(S)``, the energy that S charts of `rank` dimensions capture of all ``S_p``, each parent by one of
them, rises to ``E(P)`` where every parent has a chart of its own. It rises early where parents share.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from monosemy.tensors.axes import Bool, Float, Int, Tensor
from monosemy.training import charts
from monosemy.training.charts import Bank


@dataclass(frozen=True, eq=False)
class Half:
    """What parents leave over on one half of the samples.

    Attributes
    ----------
    rows : samples of each parent, over the root of their number: ``rowsᵀ rows = Cov_p``.
    overall : ``Cov_all``, the second moment of all samples together.
    factors : ``F_p F_pᵀ``, the positive part of ``S_p``, its largest axes.
    """

    rows: Float[Tensor, "bearer sample width"]
    overall: Float[Tensor, "width width"]
    factors: Float[Tensor, "bearer width kept"]

    @classmethod
    def of(cls, bank: Bank, rank: int) -> Half:
        """Twice as many axes as a chart has, as where charts are found while learning."""
        root = bank.counts.clamp_min(1).to(bank.rows).sqrt()
        kept = min(2 * rank, bank.rows.shape[2])
        return cls(bank.rows / root[:, None, None], bank.covariance(), charts.factors(bank, kept))


@dataclass(frozen=True, eq=False)
class Turning:
    """An orthogonal matrix for each parent: ``x -> signs_p (Q x)[places_p]``. The null of `energies`.

    A signed permutation of the coordinates of a random basis: of any covariance it makes one whose
    mean over draws is a multiple of the identity, as a uniformly random rotation does, and costs
    nothing to store.
    """

    basis: Float[Tensor, "width width"]
    places: Int[Tensor, "bearer width"]
    signs: Float[Tensor, "bearer width"]

    @classmethod
    def draw(cls, bearers: int, width: int, generator: torch.Generator) -> Turning:
        """Independent for each parent."""
        basis = torch.linalg.qr(torch.randn(width, width, generator=generator))[0]
        places = torch.rand(bearers, width, generator=generator).argsort(1)
        signs = 2.0 * torch.randint(0, 2, (bearers, width), generator=generator) - 1
        return cls(basis, places, signs)

    def there(self, F: Float[Tensor, "bearer width kept"]) -> Float[Tensor, "bearer width kept"]:
        """Each parent's columns, turned by its matrix."""
        turned = torch.einsum("wd,bdk->bwk", self.basis, F)
        return turned.gather(1, self.places[:, :, None].expand_as(F)) * self.signs[:, :, None]

    def back(
        self, V: Float[Tensor, "_ rank width"], bearers: Int[Tensor, "chosen"]
    ) -> Float[Tensor, "chosen rank width"]:
        """Rows of a chart (one for all, or each its own) as these parents saw them before the turn."""
        signed = V * self.signs[bearers][:, None]
        places = self.places[bearers][:, None].expand_as(signed)
        return torch.zeros_like(signed).scatter(2, places, signed) @ self.basis


def energies(
    first: Half, second: Half, weights: Float[Tensor, "bearer"], rank: int,
    turning: Turning | None = None,
) -> Float[Tensor, "charts bearer"]:  # fmt: skip
    """Energy that each number of charts captures of each parent, cross-validated, both ways averaged.

    Charts and routes come from one half, by merging (see `charts.merge`); the energy is
    ``w_p tr(V S_p Vᵀ)`` of the other half's whole ``S_p``, negative part and all, so that charts that
    follow noise capture about nothing.

    Parameters
    ----------
    weights : what each parent counts for.
    turning : turn every parent's covariances first: what is shared comes apart, while what a chart
        of one's own captures stays the same.
    """
    ways = (first, second), (second, first)
    return sum(_one_way(a, b, weights, rank, turning) for a, b in ways) / 2  # type: ignore[return-value]


def _one_way(
    chosen: Half, held: Half, weights: Tensor, rank: int, turning: Turning | None
) -> Float[Tensor, "charts bearer"]:
    F = chosen.factors * weights.sqrt()[:, None, None]
    F = F if turning is None else turning.there(F)
    kept, everyone = F.shape[2], torch.arange(len(F))
    own, members = list(F), [[i] for i in range(len(F))]
    now = _captured(held, charts.leading(F, rank), everyone, turning)
    found = [now]
    for a, b in charts.merge(F, rank).merges:
        U, sizes, _ = torch.linalg.svd(torch.cat([own[a], own[b]], 1), full_matrices=False)
        own[a] = (U * sizes)[:, :kept]
        members[a] += members[b]
        together = torch.tensor(members[a])
        V = U[:, :rank].T[None]
        now = now.index_copy(0, together, _captured(held, V, together, turning))
        found.append(now)
    return torch.stack(found).flip(0) * weights


def _captured(
    held: Half, V: Float[Tensor, "_ rank width"], bearers: Int[Tensor, "chosen"],
    turning: Turning | None,
) -> Float[Tensor, "chosen"]:  # fmt: skip
    """``tr(V Cov_p Vᵀ) - tr(V Cov_all Vᵀ)``, of one chart for all of them or of each one's own."""
    V = V if turning is None else turning.back(V, bearers)
    inside = V @ held.rows[bearers].transpose(1, 2)
    return inside.square().sum((1, 2)) - ((V @ held.overall) * V).sum((1, 2))


def usable(banks: tuple[Bank, Bank], least: int) -> tuple[Bool[Tensor, "bearer"], dict[str, int]]:
    """Parents that can be looked at, and how many cannot, by reason.

    ``few`` have fewer than `least` samples in a half; ``silent`` have samples that are all zero.
    """
    many = torch.minimum(banks[0].counts, banks[1].counts) >= least
    sizes = [bank.rows.square().sum((1, 2)) for bank in banks]
    loud = torch.minimum(*sizes) > 1e-12 * torch.maximum(*sizes).max()
    return many & loud, {
        "few_samples": int((~many).sum()),
        "no_residual": int((many & ~loud).sum()),
    }


def only(bank: Bank, chosen: Bool[Tensor, "bearer"]) -> Bank:
    """A bank of some of the parents."""
    state = bank.state_dict()
    return Bank.load({name: state[name][chosen] for name in ("rows", "seen", "energy")})
