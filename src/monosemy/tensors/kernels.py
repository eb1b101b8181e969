"""Encode, decode and their gradients: work only where the code is.

The encoder's product is the one dense product of a step. Everything else touches the active
entries only: with ``nnz`` entries, ``O(nnz · width)`` instead of ``O(token · latent · width)``.
`routes` chooses the module that does the work; `plain` holds the dense twins, and values and
gradients agree within rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.autograd import Function

from monosemy.tensors import dense, plain
from monosemy.tensors.axes import Float, Int, Tensor
from monosemy.tensors.codes import SparseCode
from monosemy.tensors.prefixes import Prefixes
from monosemy.tensors.routes import kernels_for
from monosemy.tensors.rows import RowGradient, gradient_of


@dataclass(frozen=True, eq=False)
class PreActivations:
    """``pre = W x + b`` of a batch, as a question: it is never held whole unless `full` is asked.

    Attributes
    ----------
    x : what is encoded, shifted already.
    W, b : the encoder.
    propose : multiply in bfloat16 to find what could survive, and in full precision only that.
    """

    x: Float[Tensor, "token width"]
    W: Float[Tensor, "latent width"]
    b: Float[Tensor, "latent"]
    propose: bool = False

    def largest(self, k: int) -> SparseCode:
        """The `k` largest positive entries of each token; of equal ones the lowest latent."""
        return kernels_for(self.x).keep_largest(self.x, self.W, self.b, k, self.propose)

    def above(self, floor: Float[Tensor, "latent"]) -> SparseCode:
        """Entries strictly above their latent's floor."""
        return kernels_for(self.x).keep_above(self.x, self.W, self.b, floor, self.propose)

    def batch_largest(self, count: int, guess: float = 0.0) -> SparseCode:
        """The `count` largest positive entries of all; `guess` (of the least) only saves time."""
        rows = self.x, self.W, self.b
        return kernels_for(self.x).keep_batch(*rows, count, guess, self.propose)

    def full(self) -> Float[Tensor, "token latent"]:
        """Every entry."""
        return plain.pre_activations(self.x, self.W, self.b)


def differentiable_values(
    support: SparseCode,
    x: Float[Tensor, "token width"],
    W_enc: Float[Tensor, "latent width"],
    b_enc: Float[Tensor, "latent"],
    shift: Float[Tensor, "width"],
    shifted: Float[Tensor, "token width"] | None = None,
) -> SparseCode:
    """Tie the values of `support` to the encoder that made them.

    Forward, the values pass unchanged (they are the selected pre-activations
    ``W_enc (x - shift) + b_enc``); backward, gradients flow to the encoder through the active
    entries only. ``x`` gets no gradient unless it asks for one. Where ``W_enc`` carries a
    `RowGradient`, its gradient goes there. `shifted` is ``x - shift``, where it is at hand.
    """
    shifted = x.detach() - shift.detach() if shifted is None else shifted
    values = _Encode.apply(support.values, x, W_enc, b_enc, shift, support, shifted)
    return support.with_values(values)


def decode(
    code: SparseCode,
    W_dec: Float[Tensor, "latent width"],
    b_dec: Float[Tensor, "width"],
) -> Float[Tensor, "token width"]:
    """``sum over active latents of value · W_dec[latent], + b_dec``.

    Where ``W_dec`` carries a `RowGradient`, its gradient goes there.
    """
    return _Decode.apply(code.values, W_dec, code).add_(b_dec)


def squared_error(
    code: SparseCode,
    W_dec: Float[Tensor, "latent width"],
    b_dec: Float[Tensor, "width"],
    target: Float[Tensor, "token width"],
) -> tuple[Float[Tensor, "token"], Float[Tensor, "token width"]]:
    """``|target - decode(code)|²`` of each token, and what is left over, outside the gradient.

    One pass over the active rows, where `decode` and a subtraction would make three tensors of
    the batch's size and their gradients three more. `target` gets no gradient.
    """
    return _SquaredError.apply(code.values, W_dec, b_dec, target, code)


def nested_squared_error(
    code: SparseCode,
    W_dec: Float[Tensor, "latent width"],
    b_dec: Float[Tensor, "width"],
    target: Float[Tensor, "token width"],
    prefixes: Prefixes,
) -> tuple[Float[Tensor, "token prefix"], Float[Tensor, "token width"]]:
    """`squared_error` of every prefix of the latents, in one pass: what Matryoshka training asks.

    Each active row is gathered once, whatever the number of prefixes, because a prefix's
    reconstruction is the one before plus what is new. Left over is what the last one leaves.
    """
    part, order = prefixes.split(code)
    squares, rest = _NestedError.apply(
        code.values, W_dec, b_dec, target, part, order, prefixes.detached
    )
    return squares, rest[:, -1]


def per_entry(parameter: Float[Tensor, "latent"], code: SparseCode) -> Float[Tensor, "active"]:
    """``parameter[latent]`` of every entry; its gradient is summed in a fixed order."""
    return _PerEntry.apply(parameter, code)


class _PerEntry(Function):
    @staticmethod
    def forward(ctx: Any, parameter: Tensor, code: SparseCode) -> Tensor:
        ctx.code = code
        return parameter[code.indices]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (grad,) = gradients
        return kernels_for(grad).sum_by_latent(ctx.code.with_values(grad)), None


def take_rows(
    parameter: Float[Tensor, "latent width"], chosen: Int[Tensor, "chosen"]
) -> Float[Tensor, "chosen width"]:
    """``parameter[chosen]`` (each row once), whose gradient touches these rows only."""
    return _TakeRows.apply(parameter, chosen)


class _TakeRows(Function):
    @staticmethod
    def forward(ctx: Any, parameter: Tensor, chosen: Tensor) -> Tensor:
        ctx.save_for_backward(parameter, chosen)
        return parameter[chosen]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, None]:
        (grad,) = gradients
        parameter, chosen = ctx.saved_tensors
        into = gradient_of(parameter)
        if into is None:
            return torch.zeros_like(parameter).index_copy(0, chosen, grad), None
        before = into.touched[chosen]
        if grad.device.type != "cpu" or bool(before.any()):  # asking would make a GPU wait
            grad = grad + into.values[chosen].masked_fill(~before[:, None], 0)
        into.values.index_copy_(0, chosen, grad)
        into.changed(chosen)
        return None, None


class _Encode(Function):
    @staticmethod
    def forward(
        ctx: Any, values: Tensor, x: Tensor, W_enc: Tensor, b_enc: Tensor, shift: Tensor,
        support: SparseCode, shifted: Tensor,
    ) -> Tensor:  # fmt: skip
        ctx.save_for_backward(shifted, W_enc)
        ctx.support = support
        return values.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = gradients
        shifted, W_enc = ctx.saved_tensors
        code = ctx.support.with_values(grad)
        b_grad = kernels_for(grad).sum_by_latent(code)
        W_grad = rows_gradient(code, shifted, W_enc) if ctx.needs_input_grad[2] else None
        x_grad = _product(code, W_enc) if ctx.needs_input_grad[1] else None
        # The shift's gradient needs no product over tokens: sum the batch first, then one
        # matrix-vector product.
        shift_grad = None
        if ctx.needs_input_grad[4]:
            shift_grad = -kernels_for(grad).weighted_sum(b_grad, W_enc)
        return None, x_grad, W_grad, b_grad, shift_grad, None, None


class _Decode(Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, W_dec: Tensor, code: SparseCode) -> Tensor:
        ctx.save_for_backward(values, W_dec)
        ctx.code = code
        return _product(code.with_values(values), W_dec)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = gradients
        values, W_dec = ctx.saved_tensors
        values_grad = W_grad = None
        if ctx.needs_input_grad[0]:
            values_grad = _side(ctx.code, grad).dots(ctx.code, grad, W_dec)
        if ctx.needs_input_grad[1]:
            W_grad = rows_gradient(ctx.code.with_values(values), grad, W_dec)
        return values_grad, W_grad, None


class _SquaredError(Function):
    @staticmethod
    def forward(
        ctx: Any, values: Tensor, W_dec: Tensor, b_dec: Tensor, target: Tensor, code: SparseCode
    ) -> tuple[Tensor, Tensor]:
        code = code.with_values(values)
        rest, squares = _side(code, target).residual(code, W_dec, target, b_dec)
        ctx.save_for_backward(values, W_dec, rest)
        ctx.code = code
        ctx.mark_non_differentiable(rest)
        ctx.set_materialize_grads(False)  # no zeros of the batch's size for `rest`
        return squares, rest

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:
        values, W_dec, rest = ctx.saved_tensors
        weights = -2 * gradients[0]
        by_entry = weights[ctx.code.rows]
        side = _side(ctx.code, rest)
        values_grad = W_grad = None
        if ctx.needs_input_grad[0]:
            values_grad = side.dots(ctx.code, rest, W_dec) * by_entry
        if ctx.needs_input_grad[1]:
            W_grad = rows_gradient(ctx.code.with_values(values * by_entry), rest, W_dec)
        return values_grad, W_grad, weights @ rest, None, None


class _NestedError(Function):
    @staticmethod
    def forward(
        ctx: Any, values: Tensor, W_dec: Tensor, b_dec: Tensor, target: Tensor, part: SparseCode,
        order: Tensor | None, detached: bool,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        part = part.with_values(values if order is None else values[order])
        nested = kernels_for(target).nested_residual
        prefixes = part.tokens // max(len(target), 1)
        rest, squares = nested(part, W_dec, target, b_dec, prefixes)
        ctx.save_for_backward(W_dec, rest)
        ctx.part, ctx.order, ctx.detached = part, order, detached
        ctx.mark_non_differentiable(rest)
        ctx.set_materialize_grads(False)
        return squares, rest

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:
        W_dec, rest = ctx.saved_tensors
        weights = -2 * gradients[0]
        if ctx.detached:
            # What is new in a prefix counts in its own error and in that of the whole.
            felt = rest * weights[..., None]
            felt[:, :-1] += felt[:, -1:]
        else:
            # What is new in a prefix counts in every later one too.
            felt = kernels_for(rest).suffix_sums(rest, weights)
        grad = felt.flatten(0, 1)
        side = _side(ctx.part, grad)
        values_grad = side.dots(ctx.part, grad, W_dec)
        if ctx.order is not None:
            values_grad = torch.empty_like(values_grad).index_copy_(0, ctx.order, values_grad)
        W_grad = rows_gradient(ctx.part, grad, W_dec)
        return values_grad, W_grad, felt[:, 0].sum(0), None, None, None, None


def _product(code: SparseCode, matrix: Tensor) -> Tensor:
    return _side(code, matrix).product(code, matrix)


def rows_gradient(code: SparseCode, matrix: Tensor, parameter: Tensor) -> Tensor | None:
    """``codeᵀ matrix``, added to the row gradient that `parameter` carries, or else returned."""
    into = gradient_of(parameter)
    if into is not None:
        _side(code, matrix).add_rows(code, matrix, into)
        return None
    into = RowGradient.of(parameter)
    _side(code, matrix).add_rows(code, matrix, into)
    return into.values.masked_fill_(~into.touched[:, None], 0)


def _side(code: SparseCode, tensor: Tensor) -> Any:
    """Sparse kernels, or dense products where so many entries are active that those are faster."""
    return dense if dense.is_faster(code) else kernels_for(tensor)
