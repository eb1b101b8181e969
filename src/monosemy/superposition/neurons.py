"""How many features a neuron carries, and the asymmetric motif of computation in superposition.

Rows are neurons. Elhage et al. 2022 (arXiv:2209.10652), sections 6 and 7.
"""

from __future__ import annotations

from monosemy.foundation.errors import UserError
from monosemy.tensors.axes import Bool, Float, Tensor

MONOSEMANTIC = 0.9
"""Share of a neuron's squared weights that one feature must have, for it to be that feature's alone."""
ALIVE = 0.05
"""Squared length of a row from which on it counts as a neuron in use."""


def alive(weights: Float[Tensor, "*instance hidden feature"]) -> Bool[Tensor, "*instance hidden"]:
    """Neurons in use."""
    return weights.square().sum(-1) > ALIVE


def purity(weights: Float[Tensor, "*instance hidden feature"]) -> Float[Tensor, "*instance hidden"]:
    """``max_i w_i² / sum_i w_i²``: 1 for a neuron of one feature, ``1/n`` for one of all alike."""
    squares = weights.square()
    return squares.max(-1).values / squares.sum(-1).clamp(min=1e-30)


def monosemantic_share(weights: Float[Tensor, "*instance hidden feature"]) -> float:
    """Of neurons in use, those that one feature has to itself.

    Errors
    ------
    `UserError` where no neuron is in use.
    """
    used = alive(weights)
    if not used.any():
        raise UserError(
            "no neuron is in use: every row of the weights is about zero; train it longer"
        )
    return float((purity(weights)[used] > MONOSEMANTIC).double().mean())


def features_per_neuron(
    weights: Float[Tensor, "*instance hidden feature"],
) -> Float[Tensor, "*instance hidden"]:
    """Participation ratio ``(sum w²)² / sum w⁴``: k for a neuron of k features alike."""
    squares = weights.square()
    return squares.sum(-1).square() / squares.square().sum(-1).clamp(min=1e-30)


def asymmetric(
    read: Float[Tensor, "hidden feature"], write: Float[Tensor, "hidden feature"],
    ratio: float = 2.0,
) -> Bool[Tensor, "hidden"]:  # fmt: skip
    """Neurons that read one feature strongly and write it weakly, and another the other way round.

    Of the two features with the largest ``|read · write|``, the one reads at least `ratio` times as
    strongly as the other and writes at most ``1 / ratio`` times as strongly: the motif
    ``W_in = [2, -1/2], W_out = [1/2, 2]``, by which interference leaves through a weak weight.
    """
    both = (read * write).abs().topk(2, 1).indices
    reads, writes = read.abs().gather(1, both), write.abs().gather(1, both).clamp(min=1e-12)
    in_ratio = reads[:, 0] / reads[:, 1].clamp(min=1e-12)
    out_ratio = writes[:, 0] / writes[:, 1]
    one = (in_ratio >= ratio) & (out_ratio <= 1 / ratio)
    other = (in_ratio <= 1 / ratio) & (out_ratio >= ratio)
    return (one | other) & alive(read) & (purity(read * write) <= MONOSEMANTIC)
