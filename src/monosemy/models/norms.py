"""Normalisation of a stream: LayerNorm, RMSNorm, divisive pools, and none, as drop-in modules.

Global norms divide every axis by one number. A divisive norm divides each axis by the energy of its own
*pool*, as inhibitory interneurons that collect from their neighbours and divide them are thought to do
(Carandini and Heeger 2012, Nature Reviews Neuroscience 13; Ren et al. 2017, arXiv 1611.04520).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from monosemy.foundation.errors import UserError, nearest, refuse
from monosemy.tensors.axes import Float, Tensor

KINDS = ("layernorm", "rmsnorm", "divisive", "learned pools", "none")
"""What `make` makes."""
# Where energies are of order one, as a stream's are, this leaves silent pools silent.
SIGMA = 0.1
_EPS = 1e-5


class Norm(nn.Module):
    """``gain * normalised(z) + bias`` over the last axis.

    Parameters
    ----------
    width : of the stream.
    bias : whether there is one.

    Attributes
    ----------
    weight, bias : gain and bias, ones and zeros at first; `None` once they are folded away.
    """

    weight: nn.Parameter | None
    bias: nn.Parameter | None

    def __init__(self, width: int, bias: bool = True):
        super().__init__()
        if width < 1:
            raise UserError(f"a norm over {width} axes; wanted at least 1")
        self.width = width
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width)) if bias else None

    def normalised(self, z: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        """Before gain and bias."""
        raise NotImplementedError

    def forward(self, z: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        """See the class."""
        out = self.normalised(z)
        if self.weight is not None:
            out = out * self.weight
        return out if self.bias is None else out + self.bias


class LayerNorm(Norm):
    """``normalised(z) = (z - mean z) / sqrt(var z + eps)`` (Ba, Kiros and Hinton 2016).

    Outputs sum to zero and have length ``sqrt(width)``: a sphere of ``width - 2`` dimensions in a
    subspace of ``width - 1``.
    """

    def __init__(self, width: int, eps: float = _EPS, bias: bool = True):
        super().__init__(width, bias)
        self.eps = eps

    def normalised(self, z: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        """See the class."""
        v = z - z.mean(-1, keepdim=True)
        return v * (v.square().mean(-1, keepdim=True) + self.eps).rsqrt()


class RMSNorm(Norm):
    """``normalised(z) = z / sqrt(mean z^2 + eps)`` (Zhang and Sennrich 2019, arXiv 1910.07467)."""

    def __init__(self, width: int, eps: float = _EPS, bias: bool = False):
        super().__init__(width, bias)
        self.eps = eps

    def normalised(self, z: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        """See the class."""
        return z * (z.square().mean(-1, keepdim=True) + self.eps).rsqrt()


class DivisiveNorm(Norm):
    """``normalised(z)_i = z_i / sqrt(sigma^2 + mean over the pool of i of z^2)``, in fixed pools.

    Pools are blocks of neighbouring axes of equal size. What happens in one pool changes nothing in
    another. With ``sigma = 0`` each pool is an RMSNorm of its own.

    Errors
    ------
    `UserError` where the width is no multiple of the pools, or sigma is negative.
    """

    def __init__(self, width: int, pools: int, sigma: float = SIGMA, bias: bool = True):
        super().__init__(width, bias)
        refuse(_misfits(width, pools, sigma), "this divisive norm")
        self.pools = pools
        self.sigma = sigma

    def normalised(self, z: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        """See the class."""
        blocks = z.unflatten(-1, (self.pools, -1))
        energy = blocks.square().mean(-1, keepdim=True)
        return (blocks * (energy + self.sigma**2).rsqrt()).flatten(-2)


class PooledNorm(Norm):
    """Divisive normalisation in pools that are learned.

    With ``m = softmax(logits)`` over pools, the membership of axis i in pool p:
    ``energy_p = sum_i m_pi z_i^2 / sum_i m_pi`` and
    ``normalised(z)_i = z_i / sqrt(sigma^2 + sum_p m_pi energy_p)``: a pool collects from the axes
    that it divides. Sharp logits give `DivisiveNorm`.

    Parameters
    ----------
    draw : from which the logits are drawn around blocks of neighbours.

    Attributes
    ----------
    logits : of membership, (pool, width).
    """

    def __init__(
        self, width: int, pools: int, sigma: float = SIGMA, bias: bool = True,
        draw: torch.Generator | None = None,
    ):  # fmt: skip
        super().__init__(width, bias)
        refuse(_misfits(width, pools, sigma), "this divisive norm")
        self.pools = pools
        self.sigma = sigma
        blocks = torch.arange(width) // (width // pools)
        logits = 2.0 * nn.functional.one_hot(blocks, pools).T.float()
        self.logits = nn.Parameter(logits + 0.1 * torch.randn(pools, width, generator=draw))

    @property
    def membership(self) -> Float[Tensor, "pool width"]:
        """How far each axis belongs to each pool: positive, one in all for an axis."""
        return self.logits.softmax(0)

    def normalised(self, z: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        """See the class."""
        m = self.membership
        energy = z.square() @ (m / m.sum(1, keepdim=True)).T
        return z * (energy @ m + self.sigma**2).rsqrt()


class NoNorm(Norm):
    """``normalised(z) = z``: gain and bias alone."""

    def normalised(self, z: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        """See the class."""
        return z


def make(
    kind: str, width: int, pools: int = 8, sigma: float = SIGMA, eps: float = _EPS,
    bias: bool = True, draw: torch.Generator | None = None,
) -> Norm:  # fmt: skip
    """The norm called `kind`, one of `KINDS`.

    Parameters
    ----------
    pools, sigma : of the divisive ones.
    eps : of LayerNorm and RMSNorm.
    draw : of learned pools.

    Errors
    ------
    `UserError` for an unknown kind, and for pools that do not divide the width.
    """
    if kind == "layernorm":
        return LayerNorm(width, eps, bias)
    if kind == "rmsnorm":
        return RMSNorm(width, eps, bias)
    if kind == "divisive":
        return DivisiveNorm(width, pools, sigma, bias)
    if kind == "learned pools":
        return PooledNorm(width, pools, sigma, bias, draw)
    if kind == "none":
        return NoNorm(width, bias)
    raise UserError(f"unknown norm {kind!r}; known: {', '.join(KINDS)}{nearest(kind, KINDS)}")


def is_norm(module: nn.Module) -> bool:
    """Whether `module` is a LayerNorm or RMSNorm, of torch, of transformers or of here."""
    return isinstance(module, Norm | nn.LayerNorm) or type(module).__name__.endswith("RMSNorm")


def like(module: nn.Module) -> Norm:
    """The same norm as a module of this file, with a copy of its weights.

    Errors
    ------
    `UserError` for what is no norm.
    """
    if isinstance(module, Norm):
        raise UserError(f"{type(module).__name__} is a norm of this package already")
    if not is_norm(module):
        raise UserError(f"{type(module).__name__} is no norm; wanted LayerNorm or an RMSNorm")
    given: Any = module
    weight, bias = given.weight.detach(), getattr(given, "bias", None)
    if isinstance(module, nn.LayerNorm):
        made: Norm = LayerNorm(len(weight), given.eps, bias is not None)
    else:
        eps = getattr(given, "variance_epsilon", getattr(given, "eps", None))
        made = RMSNorm(len(weight), float(eps or 0.0))
        if type(module).__name__.startswith("Gemma"):
            weight = weight + 1  # Gemma keeps what is beyond one
    made.weight = nn.Parameter(weight.clone())
    if bias is not None:
        made.bias = nn.Parameter(bias.detach().clone())
    return made.train(module.training)


def replace_norms(model: nn.Module, kind: str = "", **how: Any) -> int:
    """Put norms of `kind` in the place of all norms of `model`, in place; returns how many.

    Without `kind`, each by its own like, which computes the same. With it, fresh ones of the same
    width and device; `how` goes to `make`.
    """
    found = [(parent, name, child) for parent in model.modules()
             for name, child in parent.named_children() if is_norm(child)]  # fmt: skip
    for parent, name, child in found:
        if isinstance(child, Norm) and not kind:
            continue
        weight: Tensor = child.weight  # type: ignore[assignment]
        new = make(kind, len(weight), **how) if kind else like(child)
        setattr(parent, name, new.to(weight.device, weight.dtype))
    return len(found)


def _misfits(width: int, pools: int, sigma: float) -> list[str]:
    reasons = []
    if pools < 1 or width % pools:
        reasons.append(f"{pools} pools of {width} axes; wanted a number that divides the width")
    if not 0 <= sigma < math.inf:
        reasons.append(f"sigma = {sigma}; wanted at least 0")
    return reasons
