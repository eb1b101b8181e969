"""Which latents stay active, given their pre-activations.

Each selection is a function of the pre-activations alone and returns the surviving entries. The
values are the pre-activations themselves, so the gradient of a surviving entry is one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import nn

from monosemy.foundation.errors import UserError
from monosemy.tensors.axes import Float, Latents, Tensor
from monosemy.tensors.codes import SparseCode


class Selection(nn.Module, ABC):
    """Turns pre-activations into a sparse code."""

    kind: str
    """The field's name for it, as written into files."""
    k: int = 0
    """Active latents a token; 0 where the selection has no k."""

    @abstractmethod
    def support(self, pre: Latents) -> SparseCode:
        """The entries of `pre` that survive, outside the gradient."""

    def rescale_(self, factor: float) -> None:
        """Follow a change of units: pre-activations are `factor` times what they were."""

    def refuse_for(self, latents: int) -> list[str]:
        """Reasons why this selection does not fit a dictionary of `latents` latents."""
        return []


class ReLU(Selection):
    """``f = max(pre, 0)``: every positive latent. Sparse only under a sparsity penalty."""

    kind = "relu"

    def support(self, pre: Latents) -> SparseCode:
        """Entries above zero."""
        return SparseCode.from_mask(pre > 0, pre)


class TopK(Selection):
    """The `k` largest of each token, where positive (Makhzani and Frey 2013; Gao et al. 2024)."""

    kind = "topk"

    def __init__(self, k: int):
        super().__init__()
        self.k = k

    def support(self, pre: Latents) -> SparseCode:
        """At most `k` entries a token; of equal entries torch.topk's choice."""
        values, indices = pre.topk(self.k, dim=1, sorted=False)
        return _from_rows(values, indices, values > 0, pre.shape[1])

    def refuse_for(self, latents: int) -> list[str]:
        """`k` must lie between 1 and the number of latents."""
        return _k_reasons(self.k, latents)


class SignedTopK(TopK):
    """The `k` of each token that are largest in magnitude, with their signs (for PCA)."""

    kind = "signed_topk"

    def support(self, pre: Latents) -> SparseCode:
        """Exactly `k` entries a token, but for zeros."""
        indices = pre.abs().topk(self.k, dim=1, sorted=False).indices
        values = pre.gather(1, indices)
        return _from_rows(values, indices, values != 0, pre.shape[1])


class BatchTopK(Selection):
    """The ``k · tokens`` largest of a whole batch while training; a threshold afterwards.

    The threshold is a running mean of the smallest entry kept (Bussmann et al. 2024,
    arXiv:2412.06410), so that inference treats each token alone. In evaluation mode an entry
    survives where it is strictly greater than the threshold.
    """

    kind = "batchtopk"
    threshold: Float[Tensor, ""]

    def __init__(self, k: int, momentum: float = 0.99):
        super().__init__()
        self.k = k
        self.momentum = momentum
        # float64: a running mean in float32 stops moving at the momentum's rounding error.
        self.register_buffer("threshold", torch.zeros((), dtype=torch.float64))

    def support(self, pre: Latents) -> SparseCode:
        """While training ``k · tokens`` entries, fewer where fewer are positive."""
        if not self.training:
            return SparseCode.from_mask(pre > self.threshold.to(pre.dtype), pre)
        mask = batch_topk_mask(pre, self.k * len(pre), guess=0.8 * float(self.threshold))
        code = SparseCode.from_mask(mask, pre)
        if len(code.values):
            self._follow(code.values.min())
        return code

    def _follow(self, smallest: Tensor) -> None:
        keep = self.momentum if self.threshold > 0 else 0.0
        self.threshold.mul_(keep).add_((1 - keep) * smallest)

    def rescale_(self, factor: float) -> None:
        """The threshold is in the units of the pre-activations."""
        self.threshold.mul_(factor)

    def refuse_for(self, latents: int) -> list[str]:
        """`k` must lie between 1 and the number of latents."""
        return _k_reasons(self.k, latents)


class JumpReLU(Selection):
    """``f = max(pre, 0) · [pre > threshold]``, a threshold a latent (Rajamanoharan et al. 2024)."""

    kind = "jumprelu"
    threshold: Float[Tensor, "latent"]

    def __init__(self, threshold: Float[Tensor, "latent"]):
        super().__init__()
        self.register_buffer("threshold", threshold.detach().clone())

    def support(self, pre: Latents) -> SparseCode:
        """Positive entries strictly above their latent's threshold."""
        return SparseCode.from_mask(pre > self.threshold.to(pre.dtype).clamp_min(0), pre)

    def rescale_(self, factor: float) -> None:
        """The thresholds are in the units of the pre-activations."""
        self.threshold.mul_(factor)

    def refuse_for(self, latents: int) -> list[str]:
        """One threshold a latent."""
        if len(self.threshold) == latents:
            return []
        return [f"{len(self.threshold):,} thresholds for {latents:,} latents; wanted one each"]


SELECTIONS = ("relu", "topk", "batchtopk")
"""Selections that can be trained."""


def build_selection(kind: str, k: int) -> Selection:
    """The selection called `kind`; `k` is read where the kind has one."""
    if kind == "relu":
        return ReLU()
    if kind == "topk":
        return TopK(k)
    if kind == "batchtopk":
        return BatchTopK(k)
    raise UserError(f"unknown selection {kind!r}; known: {', '.join(SELECTIONS)}")


def batch_topk_mask(pre: Latents, count: int, guess: float = 0.0) -> Tensor:
    """Where the `count` largest positive entries of `pre` are.

    Sorting every entry costs more than the encoder's product. Entries above `guess` are sorted
    alone where there are enough of them, which gives the same answer: none of the rest can be
    among the largest.
    """
    flat = pre.flatten()
    candidates = (flat > max(guess, 0.0)).nonzero().squeeze(1)
    if len(candidates) < count and guess > 0:
        candidates = (flat > 0).nonzero().squeeze(1)
    if len(candidates) > count:
        best = flat[candidates].topk(count, sorted=False).indices
        candidates = candidates[best]
    mask = torch.zeros_like(flat, dtype=torch.bool)
    mask[candidates] = True
    return mask.view_as(pre)


def _from_rows(values: Tensor, indices: Tensor, kept: Tensor, latents: int) -> SparseCode:
    counts = kept.sum(1)
    bounds = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    return SparseCode(bounds, indices[kept], values[kept], latents)


def _k_reasons(k: int, latents: int) -> list[str]:
    if 1 <= k <= latents:
        return []
    return [f"k = {k:,} for {latents:,} latents; wanted 1 <= k <= latents"]
