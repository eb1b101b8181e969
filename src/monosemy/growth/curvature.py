"""How sharply the loss bends: the largest eigenvalue of its Hessian, by Lanczos."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from monosemy.foundation.errors import UserError
from monosemy.tensors.axes import Float, Tensor


@dataclass(frozen=True)
class Eigenvalue:
    """The algebraically largest eigenvalue.

    Attributes
    ----------
    value : of ``H``.
    residual : ``|H q - value q|``: some eigenvalue lies within it.
    steps : products with H.
    """

    value: float
    residual: float
    steps: int


def top_eigenvalue(
    loss: Callable[[], Float[Tensor, ""]],
    parameters: Sequence[Tensor],
    draw: torch.Generator,
    steps: int = 20,
    tolerance: float = 1e-3,
) -> Eigenvalue:
    """Of the Hessian of `loss` in all of `parameters` together.

    Lanczos (1950) from a random direction, each new vector orthogonal to all before it; a product with
    the Hessian is the gradient of ``<gradient, v>`` (Pearlmutter 1994). Ends when the residual is
    below `tolerance` of the value.

    Parameters
    ----------
    loss : computed anew from `parameters`, twice differentiable.

    Errors
    ------
    `UserError` where the loss does not depend on the parameters, or no second derivative is there.
    """
    gradient = torch.autograd.grad(loss(), parameters, create_graph=True, allow_unused=True)
    if all(g is None for g in gradient):
        raise UserError("the loss does not depend on these parameters, so that it has no curvature")
    pairs = [(g, p) for g, p in zip(gradient, parameters, strict=True) if g is not None]
    flat = torch.cat([g.flatten() for g, _ in pairs])
    if not flat.requires_grad:
        return Eigenvalue(0.0, 0.0, 0)  # linear in the parameters

    def product(v: Tensor) -> Tensor:
        found = torch.autograd.grad(
            flat, [p for _, p in pairs], v, retain_graph=True, allow_unused=True
        )
        parts = [torch.zeros_like(p) if f is None else f
                 for f, (_, p) in zip(found, pairs, strict=True)]  # fmt: skip
        return torch.cat([part.flatten() for part in parts]).detach()

    return lanczos(product, len(flat), draw, flat.dtype, steps, tolerance)


def lanczos(
    product: Callable[[Tensor], Tensor], size: int, draw: torch.Generator,
    dtype: torch.dtype = torch.float64, steps: int = 20, tolerance: float = 1e-3,
) -> Eigenvalue:  # fmt: skip
    """The largest eigenvalue of a symmetric map, known by its products."""
    q = torch.randn(size, generator=draw, dtype=torch.float64).to(dtype)
    basis, alpha, beta = [q / q.norm()], list[float](), list[float]()
    value = residual = 0.0
    for _ in range(min(steps, size)):
        w = product(basis[-1])
        alpha.append(float(w @ basis[-1]))
        for _ in range(2):
            for one in basis:
                w = w - (w @ one) * one
        beta.append(float(w.norm()))
        small = torch.diag(torch.tensor(alpha, dtype=torch.float64))
        off = torch.tensor(beta[:-1], dtype=torch.float64)
        small = small + torch.diag(off, 1) + torch.diag(off, -1)
        values, vectors = torch.linalg.eigh(small)
        value, residual = float(values[-1]), beta[-1] * abs(float(vectors[-1, -1]))
        if residual <= tolerance * abs(value) or beta[-1] < 1e-12 * max(abs(value), 1e-300):
            break
        basis.append(w / beta[-1])
    return Eigenvalue(value, residual, len(alpha))
