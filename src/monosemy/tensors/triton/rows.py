"""Gradients of whole rows, and the optimiser in one pass over them."""

from __future__ import annotations

from typing import no_type_check

import torch
import triton
import triton.language as tl

from monosemy.tensors import plain
from monosemy.tensors.axes import Float, Int, Tensor
from monosemy.tensors.codes import SparseCode
from monosemy.tensors.rows import AdamSettings, RowGradient
from monosemy.tensors.triton.entries import by_latent


@torch.no_grad()
def add_rows(code: SparseCode, matrix: Float[Tensor, "token width"], into: RowGradient) -> None:
    """Add ``sum over entries of value * matrix[token]`` to the rows of the latents with entries.

    A row not yet touched is overwritten. Every row is summed by one program, in token order, so
    that results repeat exactly; entries of value 0 count as none. The host never waits.
    """
    latents, width = into.values.shape
    if not len(code.indices):
        return
    bounds, order = by_latent(code)
    DEPTH = min(1024, triton.next_power_of_2(width))
    with torch.cuda.device_of(matrix):
        _add_rows[(latents, triton.cdiv(width, DEPTH))](
            bounds, order, code.rows, code.values.contiguous(), matrix.contiguous(),
            into.values, into.touched, width, ENTRIES=8, DEPTH=DEPTH,
        )  # fmt: skip
    # Only now: programs of one row read the flag at different times.
    into.touched.logical_or_(bounds.diff() > 0)


@torch.no_grad()
def squared_norm(gradient: RowGradient) -> Float[Tensor, ""]:
    """``sum over touched rows of |g|^2``, or of ``|g - <g, w> w|^2`` where rows are kept unit.

    Rows are summed in fp32, their total in fp64. The host never waits.
    """
    latents, width = gradient.values.shape
    out = torch.empty(latents, dtype=torch.float32, device=gradient.values.device)
    rows = gradient.values if gradient.unit is None else gradient.unit
    with torch.cuda.device_of(out):
        _squares[(latents,)](
            gradient.values, gradient.touched, rows, out,
            width, UNIT=gradient.unit is not None, **_whole_rows(width),
        )  # fmt: skip
    return out.sum(dtype=torch.float64)


@torch.no_grad()
def update_rows(
    parameter: Float[Tensor, "latent width"],
    gradient: RowGradient,
    mean: Float[Tensor, "latent width"],
    variance: Float[Tensor, "latent width"],
    settings: AdamSettings,
    seen: Int[Tensor, "latent"] | None = None,
) -> None:
    """AdamW on every row in one pass, in place; then the gradient counts as consumed.

    A row not touched has gradient 0. With ``g = scale * gradient``, minus ``<g, w> w`` where
    ``unit``: ``m = b1 m + (1 - b1) g``, ``v = b2 v + (1 - b2) g^2``, ``w = (1 - rate decay) w -
    rate (m / c1) / (sqrt(v / c2) + eps)`` with ``c = 1 - b^step``, and ``w / max(|w|, 1e-12)``
    where ``unit`` (Loshchilov and Hutter 2019). ``scale``, ``rate`` and ``step`` may be numbers
    or tensors on the device: what changes between replays of a CUDA graph has to be a tensor. The
    host never waits. With `seen`, which `plain` serves, they are numbers.
    """
    if seen is not None:
        plain.update_rows(parameter, gradient, mean, variance, settings, seen)
        return
    latents, width = parameter.shape
    with torch.cuda.device_of(parameter):
        _update[(latents,)](
            parameter, gradient.values, gradient.touched, mean, variance,
            _numbers(settings, parameter.device), width,
            UNIT=gradient.unit is not None, **_whole_rows(width),
        )  # fmt: skip
    gradient.touched.zero_()


def _whole_rows(width: int) -> dict[str, int]:
    """Launch settings of programs that hold a row: 16 numbers a thread, of each tensor."""
    DEPTH = triton.next_power_of_2(width)
    return {"DEPTH": DEPTH, "num_warps": max(4, min(16, DEPTH // 512))}


def _numbers(settings: AdamSettings, device: torch.device) -> Tensor:
    """What `_update` reads, computed in fp64: in fp32, ``1 - 0.999`` has five digits."""

    def exact(value: float | Tensor) -> float | Tensor:
        return value.to(device, torch.float64).reshape(()) if isinstance(value, Tensor) else value

    def held(value: float | Tensor) -> Tensor:
        # Filled on the device: a copy from the host would have it wait.
        if isinstance(value, Tensor):
            return value
        return torch.full((), value, dtype=torch.float64, device=device)

    scale, rate, step = (exact(v) for v in (settings.scale, settings.rate, settings.step))
    b1, b2 = settings.betas
    first, second = rate / (1 - b1**step), (1 - b2**step) ** -0.5
    numbers = scale, 1 - rate * settings.decay, b1, 1 - b1, b2, 1 - b2, first, second, settings.eps
    return torch.stack([held(number) for number in numbers]).float()


@triton.jit
@no_type_check
def _add_rows(
    bounds, order, tokens, values, matrix, gradient, touched, width,
    ENTRIES: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    latent = tl.program_id(0).to(tl.int64)
    first, last = tl.load(bounds + latent), tl.load(bounds + latent + 1)
    if last > first:
        depth = tl.program_id(1) * DEPTH + tl.arange(0, DEPTH)
        total = tl.zeros([DEPTH], tl.float32)
        for start in range(first, last, ENTRIES):
            at = start + tl.arange(0, ENTRIES)
            entry = tl.load(order + at, mask=at < last, other=0)
            value = tl.load(values + entry, mask=at < last, other=0.0)
            token = tl.load(tokens + entry, mask=at < last, other=0)
            inside = (at < last)[:, None] & (depth < width)[None, :]
            rows = tl.load(matrix + token[:, None] * width + depth[None, :], mask=inside, other=0.0)
            total += tl.sum(value[:, None] * rows, axis=0)
        old = tl.load(touched + latent).to(tl.int1)
        row = gradient + latent * width + depth
        total += tl.load(row, mask=(depth < width) & old, other=0.0)
        tl.store(row, total, mask=depth < width)


@triton.jit
@no_type_check
def _squares(gradient, touched, rows, out, width, UNIT: tl.constexpr, DEPTH: tl.constexpr):
    latent = tl.program_id(0).to(tl.int64)
    depth = tl.arange(0, DEPTH)
    inside = (depth < width) & tl.load(touched + latent).to(tl.int1)
    g = tl.load(gradient + latent * width + depth, mask=inside, other=0.0)
    if UNIT:
        w = tl.load(rows + latent * width + depth, mask=inside, other=0.0)
        g -= tl.sum(g * w, axis=0) * w
    tl.store(out + latent, tl.sum(g * g, axis=0))


@triton.jit
@no_type_check
def _update(
    parameter, gradient, touched, mean, variance, numbers, width,
    UNIT: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    latent = tl.program_id(0).to(tl.int64)
    depth = tl.arange(0, DEPTH)
    at, inside = latent * width + depth, depth < width
    live = inside & tl.load(touched + latent).to(tl.int1)
    w = tl.load(parameter + at, mask=inside, other=0.0)
    g = tl.load(gradient + at, mask=live, other=0.0) * tl.load(numbers)
    if UNIT:
        g -= tl.sum(g * w, axis=0) * w
    m = tl.load(mean + at, mask=inside, other=0.0)
    v = tl.load(variance + at, mask=inside, other=0.0)
    m = tl.load(numbers + 2) * m + tl.load(numbers + 3) * g
    v = tl.load(numbers + 4) * v + tl.load(numbers + 5) * g * g
    down = tl.sqrt_rn(v) * tl.load(numbers + 7) + tl.load(numbers + 8)
    w = tl.load(numbers + 1) * w - tl.load(numbers + 6) * m / down
    if UNIT:
        w /= tl.maximum(tl.sqrt_rn(tl.sum(w * w, axis=0)), 1e-12)
    tl.store(parameter + at, w, mask=inside)
    tl.store(mean + at, m, mask=inside)
    tl.store(variance + at, v, mask=inside)
