"""Which latents stay active, given their pre-activations.

Each selection is a function of the pre-activations alone and returns the surviving entries. The
values are the pre-activations themselves, so the gradient of a surviving entry is one. It is given
the pre-activations as a question (`kernels.PreActivations`): most are never written down.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.autograd import Function

from monosemy.dictionaries.penalties import TANH, Measure, inside, mean_count
from monosemy.foundation.errors import UserError
from monosemy.tensors.axes import Float, Tensor
from monosemy.tensors.codes import SparseCode
from monosemy.tensors.kernels import PreActivations
from monosemy.tensors.plain import largest_mask
from monosemy.tensors.routes import kernels_for


class Selection(nn.Module, ABC):
    """Turns pre-activations into a sparse code."""

    kind: str
    """The field's name for it, as written into files."""
    k: int = 0
    """Active latents a token; 0 where the selection has no k."""
    compares: bool = False
    """Whether latents are compared with each other, so that none may be rescaled alone."""
    counts: bool = False
    """Whether the number of active latents has a gradient."""
    measure: Measure = Measure()
    """How training measures sparsity; no property of what was trained."""

    @abstractmethod
    def support(self, pre: PreActivations) -> SparseCode:
        """The entries of `pre` that survive, outside the gradient."""

    def activate(self, linear: SparseCode) -> SparseCode:
        """Activations of the entries that survived, from their pre-activations."""
        return linear

    def penalties(self, linear: SparseCode, width: int) -> dict[str, Tensor]:
        """What training may be asked to keep small, by name, as `measure` says.

        `width` is how many numbers are written.
        """
        active = self.activate(linear)
        terms = {"l1": self.measure.l1(active, width)}
        return terms | {"l0": self.measure.tanh(active)} if self.measure.form == TANH else terms

    def rescale_(self, length: Float[Tensor, "latent"]) -> None:
        """Follow a change of units: each latent's pre-activation is `length` times what it was."""

    def refuse_for(self, latents: int) -> list[str]:
        """Reasons why this selection does not fit a dictionary of `latents` latents."""
        return []


class ReLU(Selection):
    """``f = max(pre, 0)``: every positive latent. Sparse only under a sparsity penalty."""

    kind = "relu"

    def support(self, pre: PreActivations) -> SparseCode:
        """Entries above zero."""
        return pre.above(torch.zeros_like(pre.b))


class TopK(Selection):
    """The `k` largest of each token, where positive (Makhzani and Frey 2013; Gao et al. 2024)."""

    kind = "topk"
    compares = True

    def __init__(self, k: int):
        super().__init__()
        self.k = k

    def support(self, pre: PreActivations) -> SparseCode:
        """At most `k` entries a token; of equal entries the lowest latent."""
        return pre.largest(self.k)

    def refuse_for(self, latents: int) -> list[str]:
        """`k` must lie between 1 and the number of latents."""
        return _k_reasons(self.k, latents)


class SignedTopK(TopK):
    """The `k` of each token that are largest in magnitude, with their signs (for PCA)."""

    kind = "signed_topk"

    def support(self, pre: PreActivations) -> SparseCode:
        """Exactly `k` entries a token, but for zeros."""
        full = pre.full()
        return SparseCode.from_mask(largest_mask(full.abs(), self.k) & (full != 0), full)


class RawTopK(Selection):
    """The `k` largest of each token, whatever their signs (Gao et al. 2024 without its ReLU)."""

    kind = "raw_topk"
    compares = True

    def __init__(self, k: int):
        super().__init__()
        self.k = k

    def support(self, pre: PreActivations) -> SparseCode:
        """Exactly `k` entries a token, but for zeros; of equal entries the lowest latent."""
        full = pre.full()
        return SparseCode.from_mask(largest_mask(full, self.k) & (full != 0), full)

    def refuse_for(self, latents: int) -> list[str]:
        """`k` must lie between 1 and the number of latents."""
        return _k_reasons(self.k, latents)


class GroupMax(Selection):
    """The largest of each of `k` groups, where positive; a group is ``latents / k`` neighbours.

    As in EleutherAI's sparsify. Of equal entries the lowest latent.
    """

    kind = "groupmax"
    compares = True

    def __init__(self, k: int):
        super().__init__()
        self.k = k

    def support(self, pre: PreActivations) -> SparseCode:
        """At most one entry a group."""
        full = pre.full()
        groups = full.unflatten(1, (self.k, -1))
        best = torch.zeros_like(groups, dtype=torch.bool)
        best.scatter_(2, groups.argmax(2, keepdim=True), True)
        return SparseCode.from_mask(best.flatten(1) & (full > 0), full)

    def refuse_for(self, latents: int) -> list[str]:
        """`k` must lie between 1 and the number of latents, and divide it."""
        reasons = _k_reasons(self.k, latents)
        if not reasons and latents % self.k:
            reasons = [f"{latents:,} latents do not fall into {self.k:,} groups of equal size"]
        return reasons


class Identity(Selection):
    """``f = pre``: every latent, whatever its sign. Not sparse."""

    kind = "identity"

    def support(self, pre: PreActivations) -> SparseCode:
        """All entries but zeros."""
        return SparseCode.from_dense(pre.full())


class BatchTopK(Selection):
    """The ``k · tokens`` largest of a whole batch while training; a threshold afterwards.

    The threshold is a running mean of the smallest entry kept (Bussmann et al. 2024,
    arXiv:2412.06410), so that inference treats each token alone. In evaluation mode an entry
    survives where it is strictly greater than the threshold.
    """

    kind = "batchtopk"
    compares = True
    threshold: Float[Tensor, ""]

    def __init__(self, k: int, momentum: float = 0.99):
        super().__init__()
        self.k = k
        self.momentum = momentum
        self._least = 0.0  # of the last batch: a guess that saves time and changes nothing
        # float64: a running mean in float32 stops moving at the momentum's rounding error.
        self.register_buffer("threshold", torch.zeros((), dtype=torch.float64))

    def support(self, pre: PreActivations) -> SparseCode:
        """While training ``k · tokens`` entries, fewer where fewer are positive."""
        if not self.training:
            return pre.above(self.threshold.to(pre.b.dtype).expand_as(pre.b))
        # Far below what a batch's smallest entry moves by from one batch to the next.
        guess = 0.9 * (self._least or float(self.threshold))
        code = pre.batch_largest(self.k * len(pre.x), guess)
        if len(code.values):
            least = code.values.min()
            self._least = float(least)
            self._follow(least)
        return code

    def _follow(self, smallest: Tensor) -> None:
        keep = self.momentum if self.threshold > 0 else 0.0
        self.threshold.mul_(keep).add_((1 - keep) * smallest)

    def rescale_(self, length: Float[Tensor, "latent"]) -> None:
        """The threshold is in the units of the pre-activations, the same for all."""
        self.threshold.mul_(length[0])
        self._least = 0.0

    def refuse_for(self, latents: int) -> list[str]:
        """`k` must lie between 1 and the number of latents."""
        return _k_reasons(self.k, latents)


class JumpReLU(Selection):
    """``f = pre · [pre > threshold]``, a threshold a latent (Rajamanoharan et al. 2024).

    The threshold learns by straight-through gradients (arXiv:2407.14435), with the rectangle
    ``K(u) = [|u| < 1/2]`` of width ``bandwidth``:
    ``df/dthreshold = -threshold/bandwidth K((pre - threshold)/bandwidth)``, and for the number of
    active latents ``-1/bandwidth K(...)``. While training the code therefore holds entries inside
    the rectangle below the threshold too, with the value zero; a pre-activation that is not
    positive never counts, also where the rectangle reaches below zero.

    Parameters
    ----------
    threshold : where each latent begins, at least 0.
    bandwidth : width of the rectangle, in the units of the pre-activations.
    """

    kind = "jumprelu"
    counts = True

    def __init__(self, threshold: Float[Tensor, "latent"], bandwidth: float = 0.1):
        super().__init__()
        self.threshold = nn.Parameter(threshold.detach().clone())
        self.bandwidth = bandwidth

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> JumpReLU:
        # In half precision an update is smaller than a threshold's rounding error: it stands still.
        before = self.threshold.detach()
        super()._apply(fn, recurse)
        if self.threshold.dtype.itemsize < before.dtype.itemsize:
            kept = before.to(self.threshold.device, torch.float32)
            self.threshold = nn.Parameter(kept, self.threshold.requires_grad)
        return self

    def support(self, pre: PreActivations) -> SparseCode:
        """Positive entries strictly above their latent's threshold, and the rectangle's below."""
        least = self.threshold.to(pre.b.dtype).clamp_min(0)
        return pre.above((least - self.bandwidth / 2).clamp_min(0) if self.training else least)

    def activate(self, linear: SparseCode) -> SparseCode:
        """Zero at and below the threshold."""
        if not self.training:
            return linear
        return linear.with_values(
            _Jump.apply(linear.values, self.threshold, linear, self.bandwidth)
        )

    def penalties(self, linear: SparseCode, width: int) -> dict[str, Tensor]:
        """See `Selection`; here the number of active latents has a gradient of its own."""
        terms = super().penalties(linear, width)
        if "l0" not in terms:
            count = mean_count(linear, self.threshold, self.bandwidth)
            terms["l0"] = self.measure.counted(count)
        return terms

    def rescale_(self, length: Float[Tensor, "latent"]) -> None:
        """The thresholds are in the units of the pre-activations."""
        self.threshold.data.mul_(length)
        self.bandwidth *= float(length.mean())

    def refuse_for(self, latents: int) -> list[str]:
        """One threshold a latent."""
        if len(self.threshold) == latents:
            return []
        return [f"{len(self.threshold):,} thresholds for {latents:,} latents; wanted one each"]


class _Jump(Function):
    @staticmethod
    def forward(
        ctx: Any, values: Tensor, threshold: Tensor, code: SparseCode, bandwidth: float
    ) -> Tensor:
        least = threshold[code.indices]
        active = values > least.clamp_min(0)
        ctx.save_for_backward(active, inside(values, least, bandwidth) * least / -bandwidth)
        ctx.code = code
        return values * active

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = gradients
        active, slope = ctx.saved_tensors
        summed = kernels_for(grad).sum_by_latent(ctx.code.with_values(slope * grad))
        return grad * active, summed, None, None


SELECTIONS = ("relu", "topk", "batchtopk", "jumprelu")
"""Selections that can be trained."""
_FIRST_THRESHOLD = 0.1


def build_selection(kind: str, k: int, latents: int) -> Selection:
    """The selection called `kind`; `k` is read where the kind has one."""
    if kind == "relu":
        return ReLU()
    if kind == "topk":
        return TopK(k)
    if kind == "batchtopk":
        return BatchTopK(k)
    if kind == "jumprelu":
        return JumpReLU(torch.full((latents,), _FIRST_THRESHOLD))
    raise UserError(f"unknown selection {kind!r}; known: {', '.join(SELECTIONS)}")


def _k_reasons(k: int, latents: int) -> list[str]:
    if 1 <= k <= latents:
        return []
    return [f"k = {k:,} for {latents:,} latents; wanted 1 <= k <= latents"]
