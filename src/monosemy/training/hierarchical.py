"""How an H-SAE style dictionary learns: parents and children at once, by gradients."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn

from monosemy.dictionaries.hierarchical import HierarchicalDictionary
from monosemy.tensors import kernels
from monosemy.tensors.axes import Activations, Float, Tensor, Written
from monosemy.tensors.codes import SparseCode
from monosemy.training.loop import Readings
from monosemy.training.objectives import LearnDictionary

# Weights of H-SAE's terms, as in its code: parents alone, orthogonality, sparsity of children.
TOP, ORTHOGONAL, SPARSE = 0.1, 0.1, 0.001


class LearnHierarchical:
    """``FVU + 0.1 FVU of parents alone + 0.1 orthogonality + 0.001 L1 + aux · AuxK``.

    H-SAE's terms and weights (Park et al. 2025, arXiv:2506.01197, and its code): the reconstruction by
    all; by parents alone; the mean over active parents of ``|D_p d_p|² + |U_p d_p|²``, so that children
    differ from their parent at right angles; and the mean sum of children's activations, over the
    root of the width. Children's codes are kept at length one.

    Parameters
    ----------
    local : learns the parents.
    dictionary : the hierarchical dictionary over ``local.module``.
    active : parents and children of a token that are to be active on average in the end.
    """

    def __init__(
        self, local: LearnDictionary, dictionary: HierarchicalDictionary, active: Sequence[float]
    ):
        self.local = local
        self.active = tuple(active)
        self.dictionary = dictionary
        self._readings: Readings = {}

    @property
    def module(self) -> HierarchicalDictionary:
        """What learns."""
        return self.dictionary

    @property
    def k(self) -> float:
        """Active parents."""
        return self.local.k

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return self.local.steps

    @property
    def step(self) -> int:
        """Steps that were taken."""
        return self.local.step

    @step.setter
    def step(self, value: int) -> None:
        self.local.step = value

    def loss(self, batch: Float[Tensor, "token columns"]) -> tuple[Float[Tensor, ""], Readings]:
        """See the class."""
        total, readings = self.local.loss(batch, self._unexplained)
        return total, readings | self._readings

    def _unexplained(
        self, code: SparseCode, x: Activations, target: Written
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""], Written]:
        parts, variance = self.dictionary, self.local.variance
        _, amount, wrote = parts.below(code, x)
        children = torch.zeros_like(x).index_add(0, code.rows, wrote)
        # Through the parents' rows and values by our kernels, through the children by autograd.
        left = kernels.decode(code, parts.trunk.W_dec, parts.b_dec) + children - target
        fvu = left.square().sum(1).mean() / variance
        top = kernels.squared_error(code, parts.trunk.W_dec, parts.b_dec, target)[0].mean()
        p = code.indices.unique()
        d = kernels.take_rows(parts.trunk.W_dec, p) if len(p) else parts.trunk.W_dec[:0]
        along = [torch.einsum("prd,pd->pr", frame.index_select(0, p), d).square().sum(1)
                 for frame in (parts.reads, parts.writes)]  # fmt: skip
        orthogonal = (along[0] + along[1]).mean() if len(p) else fvu * 0
        l1 = amount.sum() / code.tokens / parts.width**0.5
        self._readings = {
            "l0": (code.counts.sum() + (amount > 0).sum()) / code.tokens,
            "children": (amount > 0).sum() / code.tokens,
        }
        total = fvu + TOP * top / variance + ORTHOGONAL * orthogonal + SPARSE * l1
        return total, fvu.detach(), -left.detach()

    @torch.no_grad()
    def renew(self) -> Sequence[tuple[nn.Parameter, Tensor]]:
        """Children's codes are of length one again."""
        for codes in (self.dictionary.C_enc, self.dictionary.C_dec):
            codes.copy_(nn.functional.normalize(codes, dim=2))
        return self.local.renew()

    def at_work(self) -> AbstractContextManager[None]:
        """The kernels bring threads of their own."""
        return self.local.at_work()

    def state_dict(self) -> dict[str, Any]:
        """Parents, children, and what the parents' training remembers."""
        return {"module": self.dictionary.state_dict(), "local": self.local.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up a state saved by `state_dict`."""
        self.local.load_state_dict(state["local"])
        self.dictionary.load_state_dict(state["module"])

    def result(self) -> HierarchicalDictionary:
        """The dictionary in the activations' own units, in evaluation mode. Ends the training."""
        self.dictionary.aims = self.active
        self.local.result(self.dictionary)
        return self.dictionary


@torch.no_grad()
def settle_children(dictionary: HierarchicalDictionary, rows: Activations, wanted: float) -> None:
    """Lower every child's bias by one amount, so that `wanted` children are active on `rows`. In place.

    Only so far as there are more than that; fewer are left as they are.
    """
    parents = dictionary.trunk.code(rows)
    amounts = dictionary.below(parents, rows)[1]
    many = round(wanted * len(rows))
    if int((amounts > 0).sum()) > many:
        dictionary.t.sub_(amounts.topk(many + 1).values[-1])
