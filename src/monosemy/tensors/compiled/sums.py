"""Sums over the entries of a sparse code: decode, and the gradients of both matrices."""

from __future__ import annotations

import numpy as np
import torch

from monosemy.tensors import workers
from monosemy.tensors.axes import Float, Tensor
from monosemy.tensors.codes import SparseCode
from monosemy.tensors.compiled.jit import loop, sum_loop
from monosemy.tensors.rows import RowGradient

# Latents whose weighted rows one thread sums: 3 MiB of rows that are 768 wide.
_PART = 1024


def product(
    code: SparseCode, matrix: Float[Tensor, "latent width"]
) -> Float[Tensor, "token width"]:
    """``code matrix``: rows gathered and summed, token by token."""
    matrix = matrix.detach().contiguous()
    out = matrix.new_empty(code.tokens, matrix.shape[1])
    entries = code.offsets.numpy(), code.indices.numpy(), code.values.detach().numpy()
    rows, sums = matrix.numpy(), out.numpy()
    shares = workers.share_out(code.tokens, workers.LEAST_SHARE)
    workers.run(lambda start, stop: _product(*entries, rows, sums, start, stop), shares)
    return out


def residual(
    code: SparseCode, matrix: Float[Tensor, "latent width"], target: Float[Tensor, "token width"],
    shift: Float[Tensor, "width"],
) -> tuple[Float[Tensor, "token width"], Float[Tensor, "token"]]:  # fmt: skip
    """``target - shift - code matrix`` and its squared length, token by token."""
    matrix, target = matrix.detach().contiguous(), target.detach().contiguous()
    out, squares = torch.empty_like(target), target.new_empty(len(target))
    entries = code.offsets.numpy(), code.indices.numpy(), code.values.detach().numpy()
    tensors = matrix, target, shift.detach(), out, squares
    arrays = [tensor.numpy() for tensor in tensors]
    shares = workers.share_out(code.tokens, workers.LEAST_SHARE)
    workers.run(lambda start, stop: _residual(*entries, *arrays, start, stop), shares)
    return out, squares


def nested_residual(
    part: SparseCode, matrix: Float[Tensor, "latent width"], target: Float[Tensor, "token width"],
    shift: Float[Tensor, "width"], prefixes: int,
) -> tuple[Float[Tensor, "token prefix width"], Float[Tensor, "token prefix"]]:  # fmt: skip
    """`residual` after each prefix; `part` has a row for each token and prefix."""
    matrix, target = matrix.detach().contiguous(), target.detach().contiguous()
    tokens, width = target.shape
    out = target.new_empty(tokens, prefixes, width)
    squares = target.new_empty(tokens, prefixes)
    entries = part.offsets.numpy(), part.indices.numpy(), part.values.detach().numpy()
    tensors = matrix, target, shift.detach(), out, squares
    arrays = [tensor.numpy() for tensor in tensors]
    shares = workers.share_out(tokens, workers.LEAST_SHARE)
    workers.run(lambda start, stop: _nested(*entries, *arrays, start, stop), shares)
    return out, squares


def suffix_sums(
    rest: Float[Tensor, "token prefix width"], weights: Float[Tensor, "token prefix"]
) -> Float[Tensor, "token prefix width"]:
    """``sum over later prefixes q >= p of weights[q] rest[q]``."""
    # Spent before anyone can ask for the next, so its memory can be kept.
    out = workers.scratch("suffixes", rest.dtype, rest.numel()).view(rest.shape)
    arrays = rest.numpy(), weights.contiguous().numpy(), out.numpy()
    shares = workers.share_out(len(rest), workers.LEAST_SHARE)
    workers.run(lambda start, stop: _suffixes(*arrays, start, stop), shares)
    return out


def dots(
    code: SparseCode, left: Float[Tensor, "token width"], right: Float[Tensor, "latent width"]
) -> Float[Tensor, "active"]:
    """``<left[token], right[latent]>`` for every entry."""
    left, right = left.detach().contiguous(), right.detach().contiguous()
    out = left.new_empty(len(code.indices))
    entries = code.offsets.numpy(), code.indices.numpy()
    sides, found = (left.numpy(), right.numpy()), out.numpy()
    shares = workers.share_out(code.tokens, workers.LEAST_SHARE)
    workers.run(lambda start, stop: _dots(*entries, *sides, found, start, stop), shares)
    return out


def sum_by_latent(code: SparseCode) -> Float[Tensor, "latent"]:
    """Sum of each latent's values, in token order."""
    sums = np.zeros(code.latents, code.values.detach().numpy().dtype)
    _sum_by_latent(code.indices.numpy(), code.values.detach().numpy(), sums)
    return torch.from_numpy(sums)


def weighted_sum(
    weights: Float[Tensor, "latent"], matrix: Float[Tensor, "latent width"]
) -> Float[Tensor, "width"]:
    """``weights matrix``, where many weights are zero.

    Parts of so many latents are summed in their order, however many threads there are.
    """
    latents, width = matrix.shape
    parts = np.zeros((-(-latents // _PART), width), matrix.detach().numpy().dtype)
    arrays = weights.detach().numpy(), matrix.detach().numpy(), parts
    shares = workers.share_out(len(parts))
    workers.run(lambda start, stop: _weighted_sum(*arrays, start, stop), shares)
    return torch.from_numpy(parts.sum(0))


def add_rows(code: SparseCode, matrix: Float[Tensor, "token width"], into: RowGradient) -> None:
    """``into += codeᵀ matrix``: token rows gathered and summed, latent by latent."""
    bounds, order = code.by_latent
    entries = code.rows[order].numpy(), code.values.detach()[order].numpy()
    rows, limits = matrix.detach().contiguous().numpy(), bounds.numpy()
    grads, touched, squares = into.values.numpy(), into.touched.numpy(), into.squares.numpy()
    unit = grads if into.unit is None else into.unit.numpy()
    state = grads, touched, squares, unit, into.unit is not None
    # As many entries in every share: frequent latents cluster where a dictionary was sorted.
    parts = workers.share_out(len(order), workers.LEAST_SHARE)
    cuts = np.searchsorted(limits, [start for start, _ in parts] + [len(order)])
    cuts[0], cuts[-1] = 0, code.latents
    shares = [(int(a), int(b)) for a, b in zip(cuts[:-1], cuts[1:], strict=True)]
    workers.run(lambda start, stop: _add_rows(limits, *entries, rows, *state, start, stop), shares)


def squared_norm(gradient: RowGradient) -> Float[Tensor, ""]:
    """``sum |g|²``; where rows ``w`` are kept at length one, of ``g - <g, w> w``.

    Most rows were measured when they were written; only the others are read.
    """
    grads, touched = gradient.values.numpy(), gradient.touched.numpy()
    unit = grads if gradient.unit is None else gradient.unit.numpy()
    state = grads, touched, gradient.squares.numpy(), unit, gradient.unit is not None
    workers.run(
        lambda start, stop: _measure(*state, start, stop),
        workers.share_out(len(grads), workers.LEAST_SHARE),
    )
    return gradient.squares[gradient.touched].double().sum()


@sum_loop
def _add(row, indices, values, matrix, fresh):  # type: ignore[no-untyped-def]
    """``row += sum of value · matrix[index]``, or ``=`` where `fresh`; four for each pass over it."""
    none, last = values.dtype.type(0), len(indices) - 1
    for place in range(0, len(indices), 4):
        # Fewer than four at the end: the last one again, with no weight.
        ib, ic, id_ = min(place + 1, last), min(place + 2, last), min(place + 3, last)
        a, b = matrix[indices[place]], matrix[indices[ib]]
        c, d = matrix[indices[ic]], matrix[indices[id_]]
        va = values[place]
        vb = values[ib] if place + 1 <= last else none
        vc = values[ic] if place + 2 <= last else none
        vd = values[id_] if place + 3 <= last else none
        if fresh and place == 0:
            for j in range(len(row)):
                row[j] = va * a[j] + vb * b[j] + vc * c[j] + vd * d[j]
        else:
            for j in range(len(row)):
                row[j] += va * a[j] + vb * b[j] + vc * c[j] + vd * d[j]


@loop
def _product(offsets, indices, values, matrix, out, start, stop):  # type: ignore[no-untyped-def]
    for token in range(start, stop):
        here = slice(offsets[token], offsets[token + 1])
        if offsets[token] == offsets[token + 1]:
            out[token, :] = 0
        _add(out[token], indices[here], values[here], matrix, True)


@sum_loop
def _residual(  # type: ignore[no-untyped-def]
    offsets, indices, values, matrix, target, shift, out, squares, start, stop
):
    for token in range(start, stop):
        here = slice(offsets[token], offsets[token + 1])
        row, wanted = out[token], target[token]
        for j in range(len(shift)):
            row[j] = shift[j] - wanted[j]
        _add(row, indices[here], values[here], matrix, False)
        total = matrix.dtype.type(0)
        for j in range(len(shift)):
            row[j] = -row[j]
            total += row[j] * row[j]
        squares[token] = total


@sum_loop
def _nested(  # type: ignore[no-untyped-def]
    offsets, indices, values, matrix, target, shift, out, squares, start, stop
):
    prefixes, width = out.shape[1], out.shape[2]
    for token in range(start, stop):
        for prefix in range(prefixes):
            row, place = out[token, prefix], token * prefixes + prefix
            here = slice(offsets[place], offsets[place + 1])
            if prefix == 0:
                for j in range(width):
                    row[j] = shift[j] - target[token, j]
            else:
                for j in range(width):
                    row[j] = out[token, prefix - 1, j]
            _add(row, indices[here], values[here], matrix, False)
            total = matrix.dtype.type(0)
            for j in range(width):
                total += row[j] * row[j]
            squares[token, prefix] = total
        for prefix in range(prefixes):
            row = out[token, prefix]
            for j in range(width):
                row[j] = -row[j]


@sum_loop
def _suffixes(rest, weights, out, start, stop):  # type: ignore[no-untyped-def]
    prefixes, width = out.shape[1], out.shape[2]
    for token in range(start, stop):
        for prefix in range(prefixes - 1, -1, -1):
            row, weight, later = rest[token, prefix], weights[token, prefix], out[token, prefix]
            if prefix == prefixes - 1:
                for j in range(width):
                    later[j] = weight * row[j]
            else:
                after = out[token, prefix + 1]
                for j in range(width):
                    later[j] = weight * row[j] + after[j]


@sum_loop
def dots_of(row, right, indices, count, out):  # type: ignore[no-untyped-def]
    """``<row, right[index]>`` for the first `count` indices, four at a time."""
    width = right.shape[1]
    place = 0
    while place + 4 <= count:
        a, b = right[indices[place]], right[indices[place + 1]]
        c, d = right[indices[place + 2]], right[indices[place + 3]]
        sa = sb = sc = sd = right.dtype.type(0)
        for j in range(width):
            v = row[j]
            sa += v * a[j]
            sb += v * b[j]
            sc += v * c[j]
            sd += v * d[j]
        out[place], out[place + 1], out[place + 2], out[place + 3] = sa, sb, sc, sd
        place += 4
    while place < count:
        a = right[indices[place]]
        sa = right.dtype.type(0)
        for j in range(width):
            sa += row[j] * a[j]
        out[place] = sa
        place += 1


@loop
def _dots(offsets, indices, left, right, out, start, stop):  # type: ignore[no-untyped-def]
    for token in range(start, stop):
        here = slice(offsets[token], offsets[token + 1])
        dots_of(left[token], right, indices[here], offsets[token + 1] - offsets[token], out[here])


@loop
def _sum_by_latent(indices, values, sums):  # type: ignore[no-untyped-def]
    for entry in range(len(indices)):
        sums[indices[entry]] += values[entry]


@loop
def _add_rows(  # type: ignore[no-untyped-def]
    bounds, tokens, values, matrix, grads, touched, squares, rows, unit, start, stop
):
    for latent in range(start, stop):
        here = slice(bounds[latent], bounds[latent + 1])
        if bounds[latent] == bounds[latent + 1]:
            continue
        _add(grads[latent], tokens[here], values[here], matrix, not touched[latent])
        touched[latent] = True
        squares[latent] = _length(grads[latent], rows[latent], unit)


@loop
def _measure(grads, touched, squares, rows, unit, start, stop):  # type: ignore[no-untyped-def]
    for latent in range(start, stop):
        if touched[latent] and np.isnan(squares[latent]):
            squares[latent] = _length(grads[latent], rows[latent], unit)


@sum_loop
def _length(grad, row, unit):  # type: ignore[no-untyped-def]
    """Squared length of a gradient; less the part along a unit row: ``|g|² - <g, w>²``."""
    whole = along = grad.dtype.type(0)
    for j in range(len(grad)):
        whole += grad[j] * grad[j]
    if unit:
        for j in range(len(grad)):
            along += grad[j] * row[j]
    return max(whole - along * along, grad.dtype.type(0))


@sum_loop
def _weighted_sum(weights, matrix, parts, start, stop):  # type: ignore[no-untyped-def]
    for part in range(start, stop):
        out = parts[part]
        for latent in range(part * _PART, min((part + 1) * _PART, len(weights))):
            weight, row = weights[latent], matrix[latent]
            if weight != 0:
                for j in range(len(out)):
                    out[j] += weight * row[j]
