"""Encode at chosen latents, sparse decode, and their gradients: work only where the code is.

The encoder's product is the one dense product of a step. Everything else touches the active
entries only: with ``nnz`` entries, ``O(nnz · width)`` instead of ``O(token · latent · width)``.
`plain` holds the dense twins; values and gradients agree within rounding.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch.autograd import Function

from monosemy.tensors.axes import Float, Tensor
from monosemy.tensors.codes import SparseCode

# torch marks its CSR layout as beta each time one is first made; the products used here are
# compared with dense ones in the tests.
warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")


def differentiable_values(
    support: SparseCode,
    x: Float[Tensor, "token width"],
    W_enc: Float[Tensor, "latent width"],
    b_enc: Float[Tensor, "latent"],
    shift: Float[Tensor, "width"],
) -> SparseCode:
    """Tie the values of `support` to the encoder that made them.

    Forward, the values pass unchanged (they are the selected pre-activations
    ``W_enc (x - shift) + b_enc``); backward, gradients flow to the encoder through the active
    entries only. ``x`` gets no gradient unless it asks for one.
    """
    values = _Encode.apply(support.values, x, W_enc, b_enc, shift, support)
    return support.with_values(values)


def decode(
    code: SparseCode,
    W_dec: Float[Tensor, "latent width"],
    b_dec: Float[Tensor, "width"],
) -> Float[Tensor, "token width"]:
    """``sum over active latents of value · W_dec[latent], + b_dec``."""
    return _Decode.apply(code.values, W_dec, code) + b_dec


class _Encode(Function):
    @staticmethod
    def forward(
        ctx: Any, values: Tensor, x: Tensor, W_enc: Tensor, b_enc: Tensor, shift: Tensor,
        support: SparseCode,
    ) -> Tensor:  # fmt: skip
        ctx.save_for_backward(x, W_enc, shift)
        ctx.support = support
        return values.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = gradients
        x, W_enc, shift = ctx.saved_tensors
        code = ctx.support.with_values(grad)
        b_grad = _sum_by_latent(code)
        W_grad = _transposed_product(code, x - shift) if ctx.needs_input_grad[2] else None
        x_grad = _product(code, W_enc) if ctx.needs_input_grad[1] else None
        # The shift's gradient needs no product over tokens: sum the batch first, then one
        # matrix-vector product.
        shift_grad = -(b_grad @ W_enc) if ctx.needs_input_grad[4] else None
        return None, x_grad, W_grad, b_grad, shift_grad, None


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
            values_grad = _dots(ctx.code, grad, W_dec)
        if ctx.needs_input_grad[1]:
            W_grad = _transposed_product(ctx.code.with_values(values), grad)
        return values_grad, W_grad, None


def _csr(code: SparseCode) -> Tensor:
    size = (code.tokens, code.latents)
    return torch.sparse_csr_tensor(
        code.offsets, code.indices, code.values, size, check_invariants=False
    )


def _product(code: SparseCode, matrix: Tensor) -> Tensor:
    """``code @ matrix``: latent rows gathered and summed, token by token."""
    return _csr(code) @ matrix


def _transposed_product(code: SparseCode, matrix: Tensor) -> Tensor:
    """``code.T @ matrix``: token rows gathered and summed, latent by latent, in a fixed order."""
    bounds, order = code.by_latent
    size = (code.latents, code.tokens)
    entries = bounds, code.rows[order], code.values[order]
    return torch.sparse_csr_tensor(*entries, size, check_invariants=False) @ matrix


def _sum_by_latent(code: SparseCode) -> Tensor:
    """Sum of the values of each latent, in a fixed order."""
    bounds, order = code.by_latent
    return torch.segment_reduce(code.values[order], "sum", offsets=bounds, initial=0.0)


def _dots(code: SparseCode, left: Tensor, right: Tensor) -> Tensor:
    """``<left[token], right[latent]>`` for every active pair."""
    zeros = _csr(code.with_values(torch.zeros_like(code.values)))
    return torch.sparse.sampled_addmm(zeros, left.contiguous(), right.T).values()
