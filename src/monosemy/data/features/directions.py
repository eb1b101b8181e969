"""Directions of features: random, pushed apart, or laid out inside small subspaces."""

from __future__ import annotations

import math

import torch

from monosemy.tensors.axes import Float, Tensor
from monosemy.tensors.workers import run, share_out, undisturbed

# Rows that are multiplied at a time.
_PART = 1024


def random_directions(
    count: int, width: int, generator: torch.Generator
) -> Float[Tensor, "feature width"]:
    """Unit vectors, uniform on the sphere."""
    return unit(torch.randn(count, width, generator=generator))


def unit(rows: Float[Tensor, "feature width"]) -> Float[Tensor, "feature width"]:
    """The same rows with length one."""
    return rows / rows.norm(dim=1, keepdim=True).clamp(min=1e-12)


def orthogonalised(
    rows: Float[Tensor, "feature width"], steps: int, rate: float
) -> Float[Tensor, "feature width"]:
    """Unit rows pushed apart by `steps` of Adam with learning rate `rate`.

    Minimises ``sum over i != j of <w_i, w_j>² + features · sum over i of (|w_i|² - 1)²``, as
    SynthSAEBench does (Chanin and Garriga-Alonso 2026, arXiv 2602.14687). The sum over pairs is
    ``|Wᵀ W|² - sum |w_i|⁴``, so a step costs two products of (width × feature × width), and no table
    of pairs is made. The more steps, the smaller the overlaps. The result does not depend on the
    number of threads: rows are summed in parts of `_PART`, whoever does them.
    """
    w = unit(rows).clone()
    mean, square = torch.zeros_like(w), torch.zeros_like(w)
    shares = share_out(-(-len(w) // _PART))
    grams = w.new_empty(-(-len(w) // _PART), w.shape[1], w.shape[1])

    def measure(first: int, last: int) -> None:
        for number in range(first, last):
            part = w[number * _PART : (number + 1) * _PART]
            torch.mm(part.T, part, out=grams[number])

    for step in range(1, steps + 1):
        with undisturbed():
            run(measure, shares)
            gram = grams.sum(0)

            def push(first: int, last: int, gram: Tensor = gram, step: int = step) -> None:
                for number in range(first, last):
                    here = slice(number * _PART, (number + 1) * _PART)
                    grad = _gradient(w[here], gram, len(w))
                    _adam(w[here], grad, mean[here], square[here], rate, step)

            run(push, shares)
    return unit(w)


def _gradient(w: Tensor, gram: Tensor, count: int) -> Tensor:
    """The gradient of what `orthogonalised` minimises, for some of the rows."""
    lengths = w.square().sum(1, keepdim=True)
    return 4 * (w @ gram).addcmul_(count * (lengths - 1) - lengths, w)


def _adam(w: Tensor, grad: Tensor, mean: Tensor, square: Tensor, rate: float, step: int) -> None:
    """One step of Adam (betas 0.9 and 0.999) in place."""
    mean.lerp_(grad, 0.1)
    square.mul_(0.999).addcmul_(grad, grad, value=0.001)
    root = (square / (1 - 0.999**step)).sqrt_().add_(1e-8)
    w.addcdiv_(mean, root, value=-rate / (1 - 0.9**step))


def random_subspace(
    width: int, rank: int, generator: torch.Generator
) -> Float[Tensor, "axis width"]:
    """Orthonormal rows that span a random subspace."""
    drawn = torch.randn(width, rank, generator=generator, dtype=torch.float64)
    return torch.linalg.qr(drawn).Q.T.float()


def random_rotation(rank: int, generator: torch.Generator) -> Float[Tensor, "axis axis"]:
    """A rotation, uniform over all of them."""
    drawn = torch.randn(rank, rank, generator=generator, dtype=torch.float64)
    q, r = torch.linalg.qr(drawn)
    q = q * r.diagonal().sign()  # or the signs that qr prefers would not be uniform
    if torch.linalg.det(q) < 0:
        q[0] = -q[0]
    return q.float()


def spread_points(count: int, rank: int) -> Float[Tensor, "point axis"]:
    """Unit vectors as far apart as they go: a simplex, or else the best of a descent.

    Up to ``rank + 1`` points are corners of a regular simplex (a tetrahedron in 3 dimensions). More
    repel each other as charges do, ``sum 1 / distance²``, from a fixed beginning.
    """
    if count <= rank + 1:
        return _simplex(rank)[:count]
    draw = torch.Generator().manual_seed(count * 1000 + rank)
    points = unit(torch.randn(count, rank, generator=draw, dtype=torch.float64))
    same = torch.eye(count, dtype=torch.bool)
    for step in range(1500):
        apart = points[:, None] - points[None]
        push = (apart / (apart.square().sum(2, keepdim=True) + 1e-9).square()).masked_fill(
            same[:, :, None], 0.0
        )
        move = push.sum(1)
        points = unit(points + 0.1 * 0.996**step * move / (1 + move.norm(dim=1, keepdim=True)))
    return points.float()


def _simplex(rank: int) -> Float[Tensor, "point axis"]:
    """``rank + 1`` unit vectors with cosine ``-1 / rank`` between any two."""
    corners = torch.eye(rank + 1, dtype=torch.float64) - 1 / (rank + 1)
    corners = corners * math.sqrt((rank + 1) / rank)
    # Coordinates in the hyperplane that they span.
    axes = torch.linalg.svd(corners).Vh[:rank]
    return (corners @ axes.T).float()
