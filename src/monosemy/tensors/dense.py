"""The same sums as dense products, some tokens at a time: faster where a code is not sparse."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

import numpy as np
import torch

from monosemy.tensors import workers
from monosemy.tensors.axes import Float, Tensor
from monosemy.tensors.codes import SparseCode
from monosemy.tensors.rows import RowGradient

# The share of active entries at which both took the same time on two cores: between 1/12 and 1/8
# with 16,384 latents, between 1/8 and 1/4 with 4,096 (benchmarks/crossover.py).
CROSSOVER = 1 / 10
# Entries written out at once.
_ENTRIES = 1 << 22


def is_faster(code: SparseCode) -> bool:
    """Whether so many entries are active that dense products beat gathering."""
    return len(code.indices) > CROSSOVER * code.tokens * code.latents


def product(
    code: SparseCode, matrix: Float[Tensor, "latent width"]
) -> Float[Tensor, "token width"]:
    """``code matrix``."""
    out = matrix.new_empty(code.tokens, matrix.shape[1])
    for part, rows in _parts(code):
        workers.product(written(part), matrix.detach(), out[rows])
    return out


def residual(
    code: SparseCode, matrix: Tensor, target: Float[Tensor, "token width"], shift: Tensor
) -> tuple[Float[Tensor, "token width"], Float[Tensor, "token"]]:
    """``target - shift - code matrix`` and its squared length, token by token."""
    rest = target.detach() - shift.detach() - product(code, matrix)
    return rest, rest.square().sum(1)


def dots(code: SparseCode, left: Tensor, right: Tensor) -> Float[Tensor, "active"]:
    """``<left[token], right[latent]>`` for every entry."""
    found = []
    for part, rows in _parts(code):
        table = left.new_empty(part.tokens, code.latents)
        workers.product(left[rows].detach(), right.detach().T, table)
        found.append(table[part.rows, part.indices])
    return torch.cat(found)


def add_rows(code: SparseCode, matrix: Float[Tensor, "token width"], into: RowGradient) -> None:
    """``into += codeᵀ matrix``; rows without an entry stay untouched."""
    into.values.masked_fill_(~into.touched[:, None], 0)
    into.changed(code.indices)
    for part, rows in _parts(code):
        workers.product(written(part).T, matrix[rows].detach(), into.values, add=True)


def written(code: SparseCode) -> Float[Tensor, "token latent"]:
    """`code` with its zeros, outside the gradient."""
    if code.values.device.type != "cpu" or not find_spec("numba"):
        return code.detach().dense()
    from monosemy.tensors.order import write_out

    full = np.zeros((code.tokens, code.latents), code.values.detach().numpy().dtype)
    write_out(code.offsets.numpy(), code.indices.numpy(), code.values.detach().numpy(), full)
    return torch.from_numpy(full)


def _parts(code: SparseCode) -> Iterator[tuple[SparseCode, slice]]:
    """`code` in pieces small enough to be written out."""
    size = max(1, _ENTRIES // code.latents)
    for start in range(0, code.tokens, size):
        rows = slice(start, start + size)
        yield code.detach()[rows], rows
