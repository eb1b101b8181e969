"""Children that exist only while their parent is active: found, written, and their gradients.

A *bearer* (a latent that has children) ``p`` points at a chart ``s = routes[p]``: `rank` orthonormal
rows ``V[s]``. Child ``j`` of ``p`` has the direction ``e = C[p, j] V[s]``, of length one. Compiled
loops on a processor; the same in plain torch elsewhere (`plain_branches`).
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch.autograd import Function

from monosemy.tensors import plain_branches
from monosemy.tensors.axes import Float, Int, Tensor
from monosemy.tensors.codes import SparseCode
from monosemy.tensors.kernels import rows_gradient
from monosemy.tensors.routes import kernels_for, name_for

# Entries whose charts are gathered at once.
_AT_ONCE = 1 << 14


@dataclass(frozen=True, eq=False)
class Charts:
    """Where children lie.

    Attributes
    ----------
    V : shared subspaces: orthonormal rows.
    routes : the chart that each bearer points at; -1 for none.
    C : children of each bearer inside its chart: rows of length one.
    """

    V: Float[Tensor, "chart rank width"]
    routes: Int[Tensor, "bearer"]
    C: Float[Tensor, "bearer child rank"]

    def directions(self, bearers: Int[Tensor, "chosen"]) -> Float[Tensor, "chosen child width"]:
        """Every child direction of these bearers; zeros where one points at no chart."""
        found = self.C[bearers] @ self.V[self.routes[bearers].clamp_min(0)]
        return found * (self.routes[bearers] >= 0)[:, None, None]


@dataclass(frozen=True, eq=False)
class Explained:
    """What `explain` found for each entry of a code.

    Attributes
    ----------
    values : activations of the bearers; zero for those that were dropped.
    children : which child is active, -1 for none.
    amounts : its activation: how much of its direction is written.
    rest : what is left over of each token.
    """

    values: Float[Tensor, "active"]
    children: Int[Tensor, "active"]
    amounts: Float[Tensor, "active"]
    rest: Float[Tensor, "token width"]


def overlaps(charts: Charts, W_dec: Float[Tensor, "bearer width"]) -> Float[Tensor, "bearer rank"]:
    """``V[routes[p]] W_dec[p]``: what of each bearer's direction lies in its own chart."""
    return _side(W_dec).overlaps(W_dec, charts.V, charts.routes)


@torch.no_grad()
def explain(
    rest: Float[Tensor, "token width"],
    code: SparseCode,
    charts: Charts,
    W_dec: Float[Tensor, "bearer width"] | None,
    rounds: int,
    floor: float,
    least: float,
) -> Explained:
    """Go round the entries of `code`, token by token, and let each explain what the others leave.

    For an entry of bearer ``p`` with activation ``a``, child ``j`` and amount ``s``, its own part put
    back, ``r = rest + a d_p + s e_j``. With ``alpha = <r, d_p>``, ``y_c = <r, e_c>`` and
    ``g_c = <d_p, e_c>`` the least squares of ``|r - a d_p - s e_c|²`` are

    ``s = (y_c - g_c alpha) / (1 - g_c²)``, ``a = alpha - g_c s``,

    and the child with the largest gain ``s² (1 - g_c²)`` is taken, where ``s > least · a`` (local gain:
    a child is measured by its parent) and ``a > 0``; else none, and ``a = max(alpha, 0)``. Whatever
    changed is taken out of `rest` at once (Gauss-Seidel), for ``rounds`` rounds and a last one in which
    an entry is dropped unless leaving it out, child and all, would add more than ``floor²`` to the
    squared error.

    Parameters
    ----------
    rest : what the entries of `code` leave over.
    code : entries of bearers.
    W_dec : the bearers' directions, rows of length one; `None` leaves their activations as they are
        (``g = 0``, nothing is dropped) and only finds children.
    """
    rest, values = rest.clone(), code.values.detach().clone()
    refit = W_dec is not None
    overlap = overlaps(charts, W_dec) if W_dec is not None else charts.C.new_zeros(
        len(charts.routes), charts.V.shape[1])  # fmt: skip
    rows = rest.new_zeros(1, rest.shape[1]) if W_dec is None else W_dec.detach().contiguous()
    parts = rows, charts.V.detach().contiguous(), charts.routes, charts.C.detach().contiguous()
    children, amounts = _side(rest).explain(
        rest, code.offsets, code.indices, values, *parts, overlap, rounds, floor, least, refit
    )
    return Explained(values, children, amounts, rest)


def written(
    rest: Float[Tensor, "token width"], offsets: Int[Tensor, "bounds"],
    bearers: Int[Tensor, "active"], children: Int[Tensor, "active"],
    amounts: Float[Tensor, "active"], charts: Charts,
) -> Float[Tensor, "token width"]:  # fmt: skip
    """``sum amount · e`` of the children of each token, of the shape of `rest`.

    Differentiable in the amounts, ``V`` and ``C``.
    """
    entries = offsets, bearers, children
    return _Written.apply(amounts, charts.V, charts.C, rest, entries, charts.routes)


def squared_error(
    parts: Explained, code: SparseCode, levels: list[tuple[SparseCode, Explained, Charts]],
    W_dec: Float[Tensor, "latent width"], b_dec: Float[Tensor, "width"],
) -> Float[Tensor, "token"]:  # fmt: skip
    """``|rest|²`` of each token, with gradients of what was written and not of how much.

    Activations that are least squares do not move the error to first order, so the error's
    derivative in the directions is the one at fixed activations (the envelope theorem).

    Parameters
    ----------
    parts : of the last level: its `rest` is what is left over in the end.
    code : entries of the parents, with the activations that were refitted.
    levels : for each level its bearers' code, what was found, and its charts.
    """
    held = [(entry, found, charts.routes) for entry, found, charts in levels]
    tensors = [tensor for _, _, charts in levels for tensor in (charts.V, charts.C)]
    return _Branches.apply(W_dec, b_dec, parts.rest, code, held, *tensors)


class _Written(Function):
    @staticmethod
    def forward(
        ctx: Any, amounts: Tensor, V: Tensor, C: Tensor, like: Tensor, entries: tuple[Tensor, ...],
        routes: Tensor,
    ) -> Tensor:  # fmt: skip
        ctx.save_for_backward(amounts, V, C)
        ctx.entries, ctx.routes = entries, routes
        out = torch.zeros_like(like)
        _side(like).add_children(out, *entries, amounts, V, routes, C)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        amounts, V, C = ctx.saved_tensors
        (offsets, bearers, children), out = ctx.entries, gradients[0].contiguous()
        has = (children >= 0).nonzero()[:, 0]
        rows = torch.arange(len(out), device=out.device).repeat_interleave(offsets.diff())[has]
        p, j = bearers[has], children[has]
        by_rows = _side(out).child_gradients(out, rows, p, j, amounts[has], V, ctx.routes, C)
        by_amount = torch.zeros_like(amounts)
        for part in torch.arange(len(has), device=out.device).split(_AT_ONCE):
            inside = torch.einsum("erd,ed->er", V[ctx.routes[p[part]]], out[rows[part]])
            by_amount[has[part]] = (C[p[part], j[part]] * inside).sum(1)
        return by_amount, *by_rows, None, None, None


class _Branches(Function):
    @staticmethod
    def forward(
        ctx: Any, W_dec: Tensor, b_dec: Tensor, rest: Tensor, code: SparseCode, held: list[Any],
        *tensors: Tensor,
    ) -> Tensor:  # fmt: skip
        ctx.save_for_backward(W_dec, rest, *tensors)
        ctx.code, ctx.held = code, held
        return rest.square().sum(1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        W_dec, rest, *tensors = ctx.saved_tensors
        weights = -2 * gradients[0]
        by_entry = ctx.code.values * weights[ctx.code.rows]
        W_grad = rows_gradient(ctx.code.with_values(by_entry), rest, W_dec)
        found = [W_grad, weights @ rest, None, None, None]
        for level, (code, explained, routes) in enumerate(ctx.held):
            has = explained.children >= 0
            amounts = (explained.amounts * weights[code.rows])[has]
            V, C = tensors[2 * level : 2 * level + 2]
            entries = code.rows[has], code.indices[has], explained.children[has], amounts
            found += _side(rest).child_gradients(rest, *entries, V, routes, C)
        return tuple(found)


def _side(tensor: Tensor) -> ModuleType:
    if name_for(tensor.device.type, tensor.dtype) != "compiled":
        return plain_branches
    assert kernels_for(tensor)
    from monosemy.tensors.compiled import branches

    return branches
