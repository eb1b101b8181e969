"""What training may be asked to keep small, so that codes stay sparse."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch.autograd import Function

from monosemy.tensors import kernels
from monosemy.tensors.axes import Float, Int, Tensor
from monosemy.tensors.codes import SparseCode
from monosemy.tensors.routes import kernels_for

STEP, TANH, QUADRATIC = "step", "tanh", "quadratic"
L0_FORMS = (STEP, TANH, QUADRATIC)


@dataclass(frozen=True, eq=False)
class Measure:
    """How the sparsity of a code is measured, in numbers that training keeps small.

    With ``a_i = f_i |W_dec[i]|``, what latent ``i`` adds to the reconstruction, the mean over
    tokens of

    * ``l1 = sum_i a_i / sqrt(width)`` (Bricken et al. 2023; the length of the decoder row since
      Anthropic's April 2024 update, so that a long row does not buy a small activation);
    * ``l0``, by its `form`: ``step`` counts, ``sum_i [f_i > 0]``; ``tanh`` counts softly,
      ``sum_i tanh(slope a_i)`` (Anthropic's January 2025 update); ``quadratic`` is
      ``(step / target - 1)²`` of the mean count (Rajamanoharan et al. 2024, appendix;
      dictionary_learning), which pulls from both sides.

    A count has a gradient only where the selection lends it one (JumpReLU's straight-through
    gradient); the others have their own.

    Attributes
    ----------
    form : one of `L0_FORMS`.
    slope : of ``tanh``.
    target : of ``quadratic``.
    lengths : ``|W_dec[i]|`` of chosen latents, differentiable; `None` where every row has length
        one.
    """

    form: str = STEP
    slope: float = 4.0
    target: float = 1.0
    lengths: Callable[[Int[Tensor, "chosen"]], Float[Tensor, "chosen"]] | None = None

    def l1(self, code: SparseCode, width: int) -> Float[Tensor, ""]:
        """See the class."""
        return self._added(code).sum() / code.tokens / width**0.5

    def tanh(self, code: SparseCode) -> Float[Tensor, ""]:
        """See the class."""
        return (self.slope * self._added(code)).tanh().sum() / code.tokens

    def counted(self, count: Float[Tensor, ""]) -> Float[Tensor, ""]:
        """``step`` or ``quadratic`` of the mean number of active latents."""
        return (count / self.target - 1).square() if self.form == QUADRATIC else count

    def _added(self, code: SparseCode) -> Float[Tensor, "active"]:
        if self.lengths is None:
            return code.values
        used, place = code.indices.unique(return_inverse=True)
        part = SparseCode(code.offsets, place, code.values, len(used))
        return code.values * kernels.per_entry(self.lengths(used), part)


def mean_count(
    linear: SparseCode, threshold: Float[Tensor, "latent"], bandwidth: float
) -> Float[Tensor, ""]:
    """Entries of `linear` above their latent's threshold, a token.

    Its gradient to the threshold is straight-through, ``-1/bandwidth`` for each entry inside the
    rectangle about it (arXiv:2407.14435); there is none to the entries.
    """
    return _Count.apply(linear.values.detach(), threshold, linear, bandwidth)


class _Count(Function):
    @staticmethod
    def forward(
        ctx: Any, values: Tensor, threshold: Tensor, code: SparseCode, bandwidth: float
    ) -> Tensor:
        least = threshold[code.indices]
        ctx.save_for_backward(inside(values, least, bandwidth) / (-bandwidth * code.tokens))
        ctx.code = code
        return (values > least.clamp_min(0)).sum().to(values.dtype) / code.tokens

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = gradients
        (slope,) = ctx.saved_tensors
        summed = kernels_for(slope).sum_by_latent(ctx.code.with_values(slope * grad))
        return None, summed, None, None


def inside(
    values: Float[Tensor, "active"], least: Float[Tensor, "active"], bandwidth: float
) -> Float[Tensor, "active"]:
    """One where an entry lies in the rectangle of width `bandwidth` about its threshold."""
    return ((values - least).abs() < bandwidth / 2).to(values.dtype)
