"""The plain twin of `compiled.branches`: torch alone, every token at once, one entry after another."""

from __future__ import annotations

import torch

from monosemy.tensors.axes import Float, Int, Tensor

_LEAST_NEW = 0.05


def overlaps(
    W_dec: Float[Tensor, "latent width"],
    V: Float[Tensor, "chart rank width"],
    routes: Int[Tensor, "latent"],
) -> Float[Tensor, "latent rank"]:
    """``V[routes[p]] W_dec[p]``."""
    found = torch.einsum("prd,pd->pr", V[routes.clamp_min(0)], W_dec)
    return found * (routes >= 0)[:, None]


def explain(
    rest: Tensor, offsets: Tensor, indices: Tensor, values: Tensor, W_dec: Tensor, V: Tensor,
    routes: Tensor, C: Tensor, overlap: Tensor, rounds: int, floor: float, least: float,
    refit: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """See `branches.explain`. Place ``n`` of every token that has so many entries is one step."""
    children, amounts = torch.full_like(indices, -1), torch.zeros_like(values)
    most = int(offsets.diff().max()) if len(offsets) > 1 else 0
    for turn in range(rounds + 1):
        for place in range(most):
            tokens = (offsets.diff() > place).nonzero()[:, 0]
            e = offsets[tokens] + place
            if turn == rounds:
                tokens, e = tokens[values[e] > 0], e[values[e] > 0]
            _visit(
                rest, tokens, e, indices[e], values, children, amounts, W_dec, V, routes, C,
                overlap, floor if turn == rounds and refit else None, least, refit,
            )  # fmt: skip
    return children, amounts


def _visit(
    rest: Tensor, tokens: Tensor, e: Tensor, p: Tensor, values: Tensor, children: Tensor,
    amounts: Tensor, W_dec: Tensor, V: Tensor, routes: Tensor, C: Tensor, overlap: Tensor,
    floor: float | None, least: float, refit: bool,
) -> None:  # fmt: skip
    a, s, j = values[e], amounts[e], children[e]
    has = (routes[p] >= 0)[:, None]
    chart, now = V[routes[p].clamp_min(0)], rest[tokens]
    own = C[p, j.clamp_min(0)] * s[:, None]  # zero where there is no child
    w = overlap[p] if refit else torch.zeros_like(own)
    alone = a + ((now * W_dec[p]).sum(1) + (own * w).sum(1) if refit else 0)
    q = torch.einsum("erd,ed->er", chart, now) + a[:, None] * w + own
    read, shared = torch.einsum("ecr,er->ec", C[p], q), torch.einsum("ecr,er->ec", C[p], w)
    new = 1 - shared.square()
    child = (read - shared * alone[:, None]) / new.clamp_min(_LEAST_NEW)
    kept = alone[:, None] - shared * child
    fits = has & (new >= _LEAST_NEW) & (child > least * kept) & (kept > 0) & (alone > 0)[:, None]
    gains = torch.where(fits, child.square() * new, torch.zeros_like(child))
    best = gains.max(1) if gains.shape[1] else None
    found = torch.full_like(j, -1)
    amount, value = torch.zeros_like(s), alone.clamp_min(0)
    energy = value.square()
    if best is not None:
        any_, at = best.values > 0, best.indices[:, None]
        found = torch.where(any_, best.indices, found)
        amount = torch.where(any_, child.gather(1, at)[:, 0], amount)
        value = torch.where(any_, kept.gather(1, at)[:, 0], value)
        cross = 2 * shared.gather(1, at)[:, 0] * value * amount
        energy = value.square() + amount.square() + torch.where(any_, cross, amount)
    if floor is not None:
        stays = energy > floor * floor
        found = torch.where(stays, found, torch.full_like(found, -1))
        amount, value = amount * stays, value * stays
    change = (C[p, found.clamp_min(0)] * amount[:, None] - own)[:, None] @ chart
    step = change[:, 0]
    if refit:
        step = step + (value - a)[:, None] * W_dec[p]
        values[e] = value
    rest[tokens] = now - step
    children[e], amounts[e] = found, amount


def add_children(
    out: Tensor, offsets: Int[Tensor, "bounds"], bearers: Tensor, children: Tensor,
    amounts: Float[Tensor, "active"], V: Tensor, routes: Tensor, C: Tensor,
) -> None:  # fmt: skip
    """``out += sum amount · C[bearer, child] V[routes[bearer]]``."""
    rows = torch.arange(len(out), device=out.device).repeat_interleave(offsets.diff())
    has = children >= 0
    p = bearers[has]
    inside = (C[p, children[has]] * amounts[has][:, None])[:, None] @ V[routes[p]]
    out.index_add_(0, rows[has], inside[:, 0])


def child_gradients(
    rest: Tensor, rows: Tensor, bearers: Tensor, children: Tensor, weights: Tensor, V: Tensor,
    routes: Tensor, C: Tensor,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """``dV[s] = sum weight C ⊗ rest``, ``dC = sum weight V rest``."""
    charts, left = routes[bearers], rest[rows] * weights[:, None]
    outer = C[bearers, children][:, :, None] * left[:, None]
    V_grad = torch.zeros_like(V).index_add_(0, charts, outer)
    reads = torch.einsum("erd,ed->er", V[charts], left)
    C_grad = torch.zeros_like(C).index_put_((bearers, children), reads, accumulate=True)
    return V_grad, C_grad
