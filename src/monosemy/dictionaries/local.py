"""Local codes: children that exist only while their parent is active, in shared subspaces."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import nn

from monosemy.dictionaries.base import Dictionary
from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.selection import Selection
from monosemy.dictionaries.units import Units
from monosemy.foundation.errors import UserError, refuse
from monosemy.tensors import branches
from monosemy.tensors.axes import Activations, Float, Int, Latents, Tensor
from monosemy.tensors.branches import Charts, Explained
from monosemy.tensors.codes import SparseCode

# How far from one a row's length may be: what rounding to half precision leaves.
_NEAR_ONE = 1e-2


@dataclass(frozen=True, eq=False)
class Level:
    """What one level found: its bearers' entries as they were proposed, and what became of them."""

    bearers: SparseCode
    explained: Explained
    charts: Charts


class LocalDictionary(Dictionary):
    """``x̂ = b_dec + sum_p (a_p d_p + s_p C[p, j_p] V[c(p)])``: parents, and a child each at most.

    A parent is an ordinary sparse direction ``d_p``. It points at a chart ``V[c(p)]``, a subspace of
    `rank` dimensions that many parents may share, and has children ``e_pj = C[p, j] V[c(p)]`` in it.
    A child is read only while its parent is active, from what is left over, so encoding costs the
    parents' product and then a few rows for each active one: ``2 d P + k (4 d + 4 d r + 2 r n)``
    operations a visit where a flat dictionary of as many features takes ``2 d P (1 + n)``.

    Encoding proposes, explains, prunes: the trunk's linear encoder proposes more parents than stay;
    rounds of least squares let each explain what the others leave, with its best child if that is
    larger than ``least`` times the parent (local gain); whoever would be missed by less than ``floor``
    is dropped (see `branches.explain`). Where the parents of a dictionary are the children of
    another, they keep their activations and only find children of their own.

    Related: H-SAE (arXiv:2506.01197; see `HierarchicalDictionary`), block-sparse featurisers
    (arXiv:2606.25234), matching pursuit (arXiv:2506.03093), leave-one-out pruning (see
    `PrunedDictionary`). New here, as far as we know: charts that parents share, found by merging
    conditional covariances, and an encoder that explains within them.

    Latents are numbered parents first: latent ``trunk.latents + b n + j`` is child ``j`` of bearer
    ``b``, and bearers are the last ``len(routes)`` latents of the trunk.

    Parameters
    ----------
    trunk : a flat autoencoder whose rows have length one, or another local dictionary.
    V : charts: orthonormal rows.
    routes : the chart of each bearer; -1 for none.
    C : children inside their chart: rows of length one.
    rounds : of explaining, before the last.
    floor : in the units of activations; `least` : a share of the parent's.

    Errors
    ------
    `UserError` where shapes disagree, a chart has more dimensions than there are, a route leads
    nowhere, or the trunk's rows have other lengths than one: all reasons at once.
    """

    nests = False
    aims: tuple[float, ...] = ()
    """Parents, children, ... of a token that are to be active on average; no part of its file."""
    trunk: FlatDictionary | LocalDictionary
    routes: Int[Tensor, "bearer"]
    floor: Float[Tensor, ""]
    least: Float[Tensor, ""]

    def __init__(
        self,
        trunk: FlatDictionary | LocalDictionary,
        V: Float[Tensor, "chart rank width"],
        routes: Int[Tensor, "bearer"],
        C: Float[Tensor, "bearer child rank"],
        rounds: int = 1,
        floor: float = 0.0,
        least: float = 0.0,
    ):
        super().__init__()
        refuse(_reasons(trunk, V, routes, C, rounds, floor, least), "this local dictionary")
        self.trunk = trunk
        self.V = nn.Parameter(V)
        self.C = nn.Parameter(C)
        self.rounds = rounds
        self.register_buffer("routes", routes)
        # float64: they are steered in small steps.
        self.register_buffer("floor", torch.tensor(floor, dtype=torch.float64))
        self.register_buffer("least", torch.tensor(least, dtype=torch.float64))

    # --- what a dictionary is asked -----------------------------------------------------------

    @property
    def W_enc(self) -> nn.Parameter:  # type: ignore[override]
        """The parents' encoder; children have none of their own."""
        return self.trunk.W_enc

    @property
    def b_enc(self) -> nn.Parameter:  # type: ignore[override]
        """The parents'."""
        return self.trunk.b_enc

    @property
    def b_dec(self) -> nn.Parameter:  # type: ignore[override]
        """The trunk's."""
        return self.trunk.b_dec

    @property
    def W_dec(self) -> Float[Tensor, "latent width"]:  # type: ignore[override]
        """Every direction, children's written out: as large as a flat dictionary's."""
        every = torch.arange(self.bearers, device=self.C.device)
        return torch.cat([self.trunk.W_dec, self.charts.directions(every).flatten(0, 1)])

    @property
    def selection(self) -> Selection:  # type: ignore[override]
        """Which parents the trunk proposes."""
        return self.trunk.selection

    @property
    def written(self) -> int:
        """As wide as what is read."""
        return self.width

    @property
    def bearers(self) -> int:
        """Latents of the trunk that may have children: its last ones."""
        return len(self.routes)

    @property
    def branching(self) -> int:
        """Children of each bearer (n)."""
        return self.C.shape[1]

    @property
    def latents(self) -> int:
        """Parents and children."""
        return self.trunk.latents + self.bearers * self.branching

    @property
    def charts(self) -> Charts:
        """Where children lie."""
        return Charts(self.V, self.routes, self.C)

    @property
    def levels(self) -> list[LocalDictionary]:
        """The local dictionaries inside each other, the one next to the parents first."""
        inner = self.trunk.levels if isinstance(self.trunk, LocalDictionary) else []
        return [*inner, self]

    @property
    def parents(self) -> FlatDictionary:
        """The flat dictionary at the bottom."""
        trunk = self.trunk
        return trunk.parents if isinstance(trunk, LocalDictionary) else trunk

    @torch.no_grad()
    def code(self, x: Activations) -> SparseCode:
        """See the class. Outside the gradient: see `training.local` for how it learns."""
        return self.find(x)[0]

    def find(self, x: Activations, proposed: SparseCode | None = None) -> tuple[
        SparseCode, SparseCode, list[Level]
    ]:  # fmt: skip
        """The code, its parents alone, and what each level found. `proposed`: by the trunk."""
        if isinstance(self.trunk, LocalDictionary):
            code, parents, levels = self.trunk.find(x, proposed)
            first = code.latents - self.bearers
            bearers, rest = code.columns(first, code.latents), levels[-1].explained.rest
            directions = None
        else:
            bearers = self.parents.code(x) if proposed is None else proposed
            bearers = bearers.detach()
            rest = x - self.parents.decode(bearers)
            directions, levels = self.parents.W_dec, []
        found = branches.explain(
            rest, bearers, self.charts, directions, self.rounds, float(self.floor),
            float(self.least),
        )  # fmt: skip
        if directions is not None:
            code = parents = bearers.with_values(found.values).keep(found.values > 0)
        levels = [*levels, Level(bearers, found, self.charts)]
        return SparseCode.side_by_side([code, self._children(bearers, found)]), parents, levels

    def _children(self, bearers: SparseCode, found: Explained) -> SparseCode:
        entries = found.children >= 0
        kept = bearers.with_values(found.amounts).keep(entries)
        places = kept.indices * self.branching + found.children[entries]
        return SparseCode(kept.offsets, places, kept.values, self.bearers * self.branching)

    def decode(self, code: SparseCode | Latents, x: Activations | None = None) -> Activations:
        """``sum a d + sum s e + b_dec``, for any code: a child may be active alone."""
        if not isinstance(code, SparseCode):
            code = SparseCode.from_dense(code)
        trunk, children = code.split([self.trunk.latents, self.bearers * self.branching])
        out = self.trunk.decode(trunk)
        return out + branches.written(
            out.detach(), children.offsets, children.indices // self.branching,
            children.indices % self.branching, children.values, self.charts,
        )  # fmt: skip

    def training_code(self, x: Activations) -> tuple[SparseCode, dict[str, Tensor]]:
        """Refused: a `UserError`; `training.local.LearnLocal` trains every level together."""
        raise UserError("a local dictionary learns in stages: train it with encoder = 'local'")

    def row_matrices(self) -> Iterator[tuple[nn.Parameter, bool]]:
        """The parents'."""
        return self.parents.row_matrices()

    def directions(self) -> Float[Tensor, "latent width"]:
        """Rows of length one; zeros for children whose bearer points at no chart."""
        return nn.functional.normalize(self.W_dec.detach(), dim=1)

    def fold_(self, read: Units, write: Units) -> LocalDictionary:
        """See `Dictionary`; `UserError` for units that stretch some directions more than others."""
        if read.scale.ndim or write.scale.ndim:
            raise UserError(
                "charts of a local dictionary are orthonormal, so it can only learn in units of one "
                "factor for all numbers; whitening, or a factor for each number, would not fold "
                "away. Leave it out"
            )
        self.trunk.fold_(read, write)
        self.floor.mul_(write.inverse.to(self.floor))
        return self

    # --- addresses ----------------------------------------------------------------------------

    def parent_of(self, latents: Int[Tensor, "chosen"]) -> Int[Tensor, "chosen"]:
        """The latent that each of these is a child of; -1 for a parent."""
        inner, nobody = self.trunk, torch.full_like(latents, -1)
        above = inner.parent_of(latents) if isinstance(inner, LocalDictionary) else nobody
        own = latents - self.trunk.latents
        first = self.trunk.latents - self.bearers
        return torch.where(own >= 0, first + own.div(self.branching, rounding_mode="floor"), above)

    def address(self, latent: int) -> str:
        """``parent``, ``parent.child`` or ``parent.child.grandchild``, counted from zero."""
        own, places = latent, list[int]()
        for level in reversed(self.levels):
            if own >= level.trunk.latents:
                bearer, child = divmod(own - level.trunk.latents, level.branching)
                own = level.trunk.latents - level.bearers + bearer
                places.append(child)
        return ".".join(map(str, [own, *reversed(places)]))

    def numbered(self, address: str) -> int:
        """The latent at an `address`; `UserError` where there is none."""
        try:
            first, *rest = (int(part) for part in address.split("."))
        except ValueError:
            raise UserError(f"address {address!r}; wanted numbers with dots, as in 12.3") from None
        latent, levels = first, self.levels
        fits = 0 <= first < self.parents.latents and len(rest) <= len(levels)
        for level, child in zip(levels, rest, strict=False):
            fits = fits and 0 <= child < level.branching
            bearer = latent - (level.trunk.latents - level.bearers)
            latent = level.trunk.latents + bearer * level.branching + child
        if not fits:
            sizes = ".".join(str(n) for n in (self.parents.latents, *(o.branching for o in levels)))
            raise UserError(f"no latent has the address {address}; numbers go up to {sizes}")
        return latent

    def tree(self) -> dict[str, int | list[int]]:
        """Sizes of the hierarchy: parents, children of each at every level, charts, rank."""
        return {
            "parents": self.parents.latents,
            "children": [level.branching for level in self.levels],
            "charts": [len(level.V) for level in self.levels],
            "rank": [level.V.shape[1] for level in self.levels],
        }


def operations(dictionary: LocalDictionary, proposed: float) -> float:
    """Multiplications and additions of encoding a token of which `proposed` parents are proposed.

    ``2 d P`` for the product, then for each visit of an entry (`rounds` + 1 of them) at most
    ``4 d`` to read and write the parent, ``4 d r`` its chart, ``4 r n`` the children; once more
    ``2 d`` to take the proposals out. Rows without a child are written more cheaply.
    """
    d, total = dictionary.width, 2.0 * dictionary.width * dictionary.parents.latents
    for level in dictionary.levels:
        rank, n = level.V.shape[1], level.branching
        total += proposed * ((level.rounds + 1) * (4 * d + 4 * d * rank + 4 * rank * n) + 2 * d)
    return total


def _reasons(
    trunk: Dictionary, V: Tensor, routes: Tensor, C: Tensor, rounds: int, floor: float,
    least: float,
) -> list[str]:  # fmt: skip
    charts, rank, width = V.shape
    bearers, _, C_rank = C.shape
    reasons = []
    if width != trunk.width:
        reasons.append(f"V lies in {width} dimensions; the trunk reads {trunk.width}")
    if rank > width:
        reasons.append(f"charts of rank {rank} in {width} dimensions; wanted at most {width}")
    if C_rank != rank:
        reasons.append(f"C has {C_rank} numbers a child; wanted {rank}, the charts' rank")
    if routes.shape != (bearers,):
        reasons.append(f"routes has shape {tuple(routes.shape)}; wanted ({bearers},), one a bearer")
    elif bearers and (int(routes.min()) < -1 or int(routes.max()) >= charts):
        reasons.append(f"routes lead to charts {int(routes.min())} to {int(routes.max())}; "
                       f"wanted -1 (none) to {charts - 1}")  # fmt: skip
    if isinstance(trunk, LocalDictionary):
        most = trunk.bearers * trunk.branching
        if bearers != most:
            reasons.append(f"{bearers} bearers; wanted {most}, the trunk's children")
    elif bearers != trunk.latents:
        reasons.append(f"{bearers} bearers; wanted {trunk.latents}, the trunk's latents")
    flat = trunk if isinstance(trunk, FlatDictionary) else None
    if flat is None and not isinstance(trunk, LocalDictionary):
        reasons.append(f"the trunk is a {type(trunk).__name__}; wanted a plain autoencoder, or "
                       "another local dictionary")  # fmt: skip
    if flat is not None and (flat.weighing != "none" or not _unit(flat.W_dec)):
        reasons.append("the trunk's decoder rows are not of length one; normalise them first")
    for name, value in {"rounds": rounds, "floor": floor, "least": least}.items():
        if not value >= 0:
            reasons.append(f"{name} = {value}; wanted at least 0")
    return reasons


def _unit(rows: Tensor) -> bool:
    return bool(((rows.norm(dim=1) - 1).abs() < _NEAR_ONE).all())


def with_level(dictionary: FlatDictionary | LocalDictionary, like: Charts) -> LocalDictionary:
    """A level of children on top of `dictionary`, silent until its charts are set."""
    empty = replace(like, routes=torch.full_like(like.routes, -1))
    return LocalDictionary(dictionary, empty.V, empty.routes, empty.C)
