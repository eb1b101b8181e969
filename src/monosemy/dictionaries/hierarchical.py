"""Children in a subspace of each parent's own, read from the activation itself: the H-SAE style."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from monosemy.dictionaries.base import Dictionary
from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.selection import Selection
from monosemy.dictionaries.units import Units
from monosemy.foundation.errors import UserError, refuse
from monosemy.tensors import kernels
from monosemy.tensors.axes import Activations, Float, Int, Latents, Tensor
from monosemy.tensors.codes import SparseCode

# Active parents whose subspaces are gathered at once.
_AT_ONCE = 1 << 14


class HierarchicalDictionary(Dictionary):
    """``x̂ = b_dec + sum_p [a_p d_p + s_p U_p C'_pj]``, one child a parent.

    ``s_p = max_j ReLU(C_pj D_p (x - b_dec) + t_pj)``, and ``j`` is where the largest is.

    The sum runs over active parents; each has `children` codes in a subspace of `rank` dimensions of
    its own, read by ``D_p`` and written by ``U_p``, of which the one that is read most is active.
    H-SAE (Park et al. 2025, arXiv:2506.01197): children read the activation itself, not what parents
    leave over. Everything learns by gradients, beginning from random subspaces. Here parents are
    selected over a batch (BatchTopK), and rows are free of H-SAE's factor ``1 / sqrt(d)``.

    The baseline that `LocalDictionary` is compared with. Latents are numbered alike: parents first,
    then ``parents + p n + j``. A child's direction is ``U_p C'_pj`` scaled to length one, and its
    activation is in the units of that.

    Parameters
    ----------
    trunk : the parents: a flat autoencoder.
    reads : ``D``, (parent, rank, width); `writes` : ``U``, (parent, rank, width).
    C_enc, C_dec : codes inside, (parent, child, rank); `t` : (parent, child).

    Errors
    ------
    `UserError` where shapes disagree, all reasons at once.
    """

    nests = False
    aims: tuple[float, ...] = ()
    """Parents and children of a token that are to be active on average; no part of its file."""
    trunk: FlatDictionary
    reads: nn.Parameter
    writes: nn.Parameter
    C_enc: nn.Parameter
    C_dec: nn.Parameter
    t: nn.Parameter

    def __init__(
        self,
        trunk: FlatDictionary,
        reads: Float[Tensor, "parent rank width"],
        writes: Float[Tensor, "parent rank width"],
        C_enc: Float[Tensor, "parent child rank"],
        C_dec: Float[Tensor, "parent child rank"],
        t: Float[Tensor, "parent child"],
    ):
        super().__init__()
        given = {"reads": reads, "writes": writes, "C_enc": C_enc, "C_dec": C_dec, "t": t}
        refuse(_reasons(trunk, given), "this hierarchical dictionary")
        self.trunk = trunk
        for name, value in given.items():
            setattr(self, name, nn.Parameter(value))

    @classmethod
    def random(
        cls, trunk: FlatDictionary, rank: int, children: int, generator: torch.Generator
    ) -> HierarchicalDictionary:
        """Random orthonormal subspaces, read as they are written; random codes of length one."""
        parents, width = trunk.latents, trunk.width
        if rank > width:
            refuse([f"rank {rank} in {width} dimensions; wanted at most {width}"], "its subspaces")
        frames = torch.linalg.qr(torch.randn(parents, width, rank, generator=generator))[0]
        frames = frames.transpose(1, 2).contiguous()
        codes = torch.randn(parents, children, rank, generator=generator)
        codes = nn.functional.normalize(codes, dim=2)
        nothing = torch.zeros(parents, children)
        return cls(trunk, frames, frames.clone(), codes, codes.clone(), nothing)

    @property
    def W_enc(self) -> nn.Parameter:  # type: ignore[override]
        """The parents'."""
        return self.trunk.W_enc

    @property
    def b_enc(self) -> nn.Parameter:  # type: ignore[override]
        """The parents'."""
        return self.trunk.b_enc

    @property
    def b_dec(self) -> nn.Parameter:  # type: ignore[override]
        """The parents'."""
        return self.trunk.b_dec

    @property
    def W_dec(self) -> Float[Tensor, "latent width"]:  # type: ignore[override]
        """Every direction, written out."""
        children = nn.functional.normalize(self.C_dec @ self.writes, dim=2)
        return torch.cat([self.trunk.W_dec, children.flatten(0, 1)])

    @property
    def selection(self) -> Selection:  # type: ignore[override]
        """Of the parents."""
        return self.trunk.selection

    @property
    def branching(self) -> int:
        """Of each parent (n)."""
        return self.t.shape[1]

    @property
    def latents(self) -> int:
        """Parents and children."""
        return self.trunk.latents * (1 + self.branching)

    @property
    def written(self) -> int:
        """As wide as what is read."""
        return self.width

    def code(self, x: Activations) -> SparseCode:
        """See the class."""
        parents = self.trunk.code(x)
        child, amount, _ = self.below(parents, x)
        length = self._lengths(parents.indices, child)
        some = amount > 0
        kept = parents.with_values(amount * length).keep(some)
        places = kept.indices * self.branching + child[some]
        size = self.trunk.latents * self.branching
        return SparseCode.side_by_side(
            [parents, SparseCode(kept.offsets, places, kept.values, size)]
        )

    def below(
        self, parents: SparseCode, x: Activations
    ) -> tuple[Int[Tensor, "active"], Float[Tensor, "active"], Float[Tensor, "active width"]]:
        """For each entry its child, how much of it is written, and what that writes."""
        found = []
        for part in torch.arange(len(parents.indices), device=x.device).split(_AT_ONCE):
            p = parents.indices[part]
            rows = (x - self.b_dec)[parents.rows[part]]
            inside = torch.einsum("erd,ed->er", _take(self.reads, p), rows)
            pre = torch.einsum("ecr,er->ec", _take(self.C_enc, p), inside) + _take(self.t, p)
            value, child = pre.max(1)
            amount = value.relu()
            code = _take(self.C_dec.flatten(0, 1), p * self.branching + child) * amount[:, None]
            found.append((child, amount, torch.einsum("er,erd->ed", code, _take(self.writes, p))))
        if not found:
            return parents.indices, parents.values, x.new_zeros(0, x.shape[1])
        children, amounts, written = zip(*found, strict=True)
        return torch.cat(children), torch.cat(amounts), torch.cat(written)

    def _lengths(self, p: Tensor, child: Tensor) -> Float[Tensor, "active"]:
        """Of the children's directions before they are scaled to one."""
        parts = [torch.einsum("er,erd->ed", self.C_dec[a, b], self.writes[a]).norm(dim=1)
                 for a, b in zip(p.split(_AT_ONCE), child.split(_AT_ONCE), strict=True)]  # fmt: skip
        return torch.cat(parts) if parts else self.t.new_zeros(0)

    def decode(self, code: SparseCode | Latents, x: Activations | None = None) -> Activations:
        """``code W_dec + b_dec``."""
        W_dec = self.W_dec
        if isinstance(code, SparseCode):
            return kernels.decode(code, W_dec, self.b_dec)
        return code @ W_dec + self.b_dec

    def training_code(self, x: Activations) -> tuple[SparseCode, dict[str, Tensor]]:
        """Refused: a `UserError`; `training.hierarchical` trains parents and children together."""
        raise UserError("train a hierarchical dictionary with encoder = 'hierarchical'")

    def row_matrices(self) -> Iterator[tuple[nn.Parameter, bool]]:
        """The parents'."""
        return self.trunk.row_matrices()

    def fold_(self, read: Units, write: Units) -> HierarchicalDictionary:
        """See `Dictionary`; `UserError` for units that stretch some directions more than others."""
        if read.scale.ndim or write.scale.ndim:
            raise UserError(
                "subspaces of a hierarchical dictionary are learned in units of one factor for all "
                "numbers; whitening, or a factor for each number, would not fold away. Leave it out"
            )
        self.trunk.fold_(read, write)
        with torch.no_grad():
            # Amounts grow by what units shrink: reads of the same numbers, so only the bias follows.
            self.t.mul_(write.inverse.to(self.t))
        return self

    def parent_of(self, latents: Int[Tensor, "chosen"]) -> Int[Tensor, "chosen"]:
        """The latent that each of these is a child of; -1 for a parent."""
        own = latents - self.trunk.latents
        return torch.where(own >= 0, own.div(self.branching, rounding_mode="floor"), -1)


def _take(parameter: Tensor, rows: Int[Tensor, "chosen"]) -> Tensor:
    """``parameter[rows]``, whose gradient is added up several times faster on a processor."""
    return parameter.index_select(0, rows)


def _reasons(trunk: FlatDictionary, given: dict[str, Tensor]) -> list[str]:
    """Why these parts are no hierarchical dictionary."""
    parents, width = trunk.latents, trunk.width
    rank, children = given["reads"].shape[1], given["t"].shape[1]
    wanted = {"reads": (parents, rank, width), "writes": (parents, rank, width),
              "C_enc": (parents, children, rank), "C_dec": (parents, children, rank),
              "t": (parents, children)}  # fmt: skip
    reasons = [f"{name} has shape {tuple(given[name].shape)}; wanted {shape}"
               for name, shape in wanted.items()
               if tuple(given[name].shape) != shape]  # fmt: skip
    if rank > width:
        reasons.append(f"subspaces of rank {rank} in {width} dimensions; wanted at most {width}")
    return reasons
