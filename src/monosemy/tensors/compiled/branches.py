"""Children of active latents: found token by token, by going round the few that are active."""

from __future__ import annotations

import numpy as np
import torch

from monosemy.tensors import workers
from monosemy.tensors.axes import Float, Int, Tensor
from monosemy.tensors.compiled.jit import loop, sum_loop

# A child direction with less than this of it (squared) outside its parent's cannot be told from it.
_LEAST_NEW = 0.05


def overlaps(
    W_dec: Float[Tensor, "latent width"],
    V: Float[Tensor, "chart rank width"],
    routes: Int[Tensor, "latent"],
) -> Float[Tensor, "latent rank"]:
    """``V[routes[p]] W_dec[p]``: what of each latent's direction lies in its own chart."""
    out = W_dec.new_zeros(len(routes), V.shape[1])
    arrays = [t.detach().contiguous().numpy() for t in (W_dec, V, routes, out)]
    shares = workers.share_out(len(routes), workers.LEAST_SHARE)
    workers.run(lambda start, stop: _overlaps(*arrays, start, stop), shares)
    return out


def explain(
    rest: Float[Tensor, "token width"],
    offsets: Int[Tensor, "bounds"],
    indices: Int[Tensor, "active"],
    values: Float[Tensor, "active"],
    W_dec: Float[Tensor, "_ width"],
    V: Float[Tensor, "chart rank width"],
    routes: Int[Tensor, "latent"],
    C: Float[Tensor, "latent child rank"],
    overlap: Float[Tensor, "latent rank"],
    rounds: int, floor: float, least: float, refit: bool,
) -> tuple[Int[Tensor, "active"], Float[Tensor, "active"]]:  # fmt: skip
    """See `branches.explain`; `rest` and `values` are changed in place.

    `W_dec` is not looked at unless entries are refitted.
    """
    children, amounts = torch.full_like(indices, -1), torch.zeros_like(values)
    tensors = (rest, offsets, indices, values, children, amounts, W_dec, V, routes, C, overlap)
    arrays = [tensor.detach().numpy() for tensor in tensors]
    kind = arrays[0].dtype.type
    numbers = rounds, kind(floor), kind(least), refit
    shares = workers.share_out(len(rest), workers.LEAST_SHARE)
    workers.run(lambda start, stop: _explain(*arrays, *numbers, start, stop), shares)
    return children, amounts


def add_children(
    out: Float[Tensor, "token width"],
    offsets: Int[Tensor, "bounds"],
    bearers: Int[Tensor, "active"],
    children: Int[Tensor, "active"],
    amounts: Float[Tensor, "active"],
    V: Float[Tensor, "chart rank width"],
    routes: Int[Tensor, "latent"],
    C: Float[Tensor, "latent child rank"],
) -> None:
    """``out += sum amount · C[bearer, child] V[routes[bearer]]``, token by token."""
    tensors = (out, offsets, bearers, children, amounts, V, routes, C)
    arrays = [tensor.detach().contiguous().numpy() for tensor in tensors]
    shares = workers.share_out(len(out), workers.LEAST_SHARE)
    workers.run(lambda start, stop: _add_children(*arrays, start, stop), shares)


def child_gradients(
    rest: Float[Tensor, "token width"],
    rows: Int[Tensor, "active"],
    bearers: Int[Tensor, "active"],
    children: Int[Tensor, "active"],
    weights: Float[Tensor, "active"],
    V: Float[Tensor, "chart rank width"],
    routes: Int[Tensor, "latent"],
    C: Float[Tensor, "latent child rank"],
) -> tuple[Float[Tensor, "chart rank width"], Float[Tensor, "latent child rank"]]:
    """``dV[s] = sum weight C ⊗ rest``, ``dC = sum weight V rest``, entry by entry, in order."""
    V_grad, C_grad = torch.zeros_like(V), torch.zeros_like(C)
    reads = V.new_empty(len(bearers), V.shape[1])
    tensors = (rest, rows, bearers, children, weights, V, routes, C, V_grad, C_grad, reads)
    arrays = [tensor.detach().contiguous().numpy() for tensor in tensors]
    shares = workers.share_out(len(bearers), workers.LEAST_SHARE)
    workers.run(lambda start, stop: _reads(*arrays, start, stop), shares)
    _codebook_gradient(*arrays)
    # Charts are shared out, so that each is summed by one thread and sums repeat exactly.
    shares = workers.share_out(len(V))
    workers.run(lambda start, stop: _chart_gradient(*arrays, start, stop), shares)
    return V_grad, C_grad


@sum_loop
def _overlaps(W_dec, V, routes, out, start, stop):  # type: ignore[no-untyped-def]
    for p in range(start, stop):
        s = routes[p]
        if s >= 0:
            for r in range(V.shape[1]):
                total = W_dec[p, 0] * 0
                for i in range(V.shape[2]):
                    total += V[s, r, i] * W_dec[p, i]
                out[p, r] = total


@sum_loop
def _explain(  # type: ignore[no-untyped-def]
    rest, offsets, indices, values, children, amounts, W_dec, V, routes, C, overlap,
    rounds, floor, least, refit, start, stop,
):  # fmt: skip
    rank, zero = V.shape[1], rest.dtype.type(0)
    q = np.empty(rank, rest.dtype)
    move = np.empty(rank, rest.dtype)
    for t in range(start, stop):
        for turn in range(rounds + 1):
            last = turn == rounds
            for e in range(offsets[t], offsets[t + 1]):
                p, a, s, j = indices[e], values[e], amounts[e], children[e]
                if last and a <= zero:
                    continue
                chart = routes[p]
                # What the latent reads with its own part, and its child's, put back.
                alone = a
                if refit:
                    for i in range(rest.shape[1]):
                        alone += rest[t, i] * W_dec[p, i]
                    if j >= 0:
                        for r in range(rank):
                            alone += s * C[p, j, r] * overlap[p, r]
                best, best_s, best_a, best_new, gained = -1, zero, max(alone, zero), zero, zero
                if chart >= 0 and alone > zero:
                    for r in range(rank):
                        read = zero
                        for i in range(rest.shape[1]):
                            read += V[chart, r, i] * rest[t, i]
                        if refit:
                            read += a * overlap[p, r]
                        if j >= 0:
                            read += s * C[p, j, r]
                        q[r] = read
                    for c in range(C.shape[1]):
                        read, shared = zero, zero
                        for r in range(rank):
                            read += C[p, c, r] * q[r]
                            shared += C[p, c, r] * overlap[p, r]
                        if not refit:
                            shared = zero
                        new = 1 - shared * shared
                        if new < _LEAST_NEW:
                            continue
                        child = (read - shared * alone) / new
                        own = alone - shared * child
                        if child > least * own and own > zero and child * child * new > gained:
                            gained = child * child * new
                            best, best_s, best_a, best_new = c, child, own, shared
                if last and refit:
                    energy = best_a * best_a + best_s * best_s + 2 * best_new * best_a * best_s
                    if energy <= floor * floor:
                        best, best_s, best_a = -1, zero, zero
                if refit and best_a != a:
                    for i in range(rest.shape[1]):
                        rest[t, i] -= (best_a - a) * W_dec[p, i]
                if j >= 0 or best >= 0:
                    for r in range(rank):
                        move[r] = zero
                        if best >= 0:
                            move[r] += best_s * C[p, best, r]
                        if j >= 0:
                            move[r] -= s * C[p, j, r]
                    for r in range(rank):
                        by = move[r]
                        for i in range(rest.shape[1]):
                            rest[t, i] -= by * V[chart, r, i]
                if refit:
                    values[e] = best_a
                children[e], amounts[e] = best, best_s


@sum_loop
def _add_children(  # type: ignore[no-untyped-def]
    out, offsets, bearers, children, amounts, V, routes, C, start, stop
):
    for t in range(start, stop):
        for e in range(offsets[t], offsets[t + 1]):
            p, j = bearers[e], children[e]
            if j >= 0:
                chart = routes[p]
                for r in range(V.shape[1]):
                    by = amounts[e] * C[p, j, r]
                    for i in range(V.shape[2]):
                        out[t, i] += by * V[chart, r, i]


@sum_loop
def _reads(  # type: ignore[no-untyped-def]
    rest, rows, bearers, children, weights, V, routes, C, V_grad, C_grad, reads, start, stop
):
    for e in range(start, stop):
        chart = routes[bearers[e]]
        for r in range(V.shape[1]):
            total = rest[0, 0] * 0
            for i in range(V.shape[2]):
                total += V[chart, r, i] * rest[rows[e], i]
            reads[e, r] = total


@loop
def _codebook_gradient(  # type: ignore[no-untyped-def]
    rest, rows, bearers, children, weights, V, routes, C, V_grad, C_grad, reads
):
    for e in range(len(bearers)):
        for r in range(V.shape[1]):
            C_grad[bearers[e], children[e], r] += weights[e] * reads[e, r]


@sum_loop
def _chart_gradient(  # type: ignore[no-untyped-def]
    rest, rows, bearers, children, weights, V, routes, C, V_grad, C_grad, reads, start, stop
):
    for e in range(len(bearers)):
        chart = routes[bearers[e]]
        if start <= chart < stop:
            for r in range(V.shape[1]):
                by = weights[e] * C[bearers[e], children[e], r]
                for i in range(V.shape[2]):
                    V_grad[chart, r, i] += by * rest[rows[e], i]
