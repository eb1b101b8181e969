"""Tilted empirical risk: a mean in which large losses count for more."""

from __future__ import annotations

import math

from monosemy.tensors.axes import Float, Tensor


def tilted_mean(losses: Float[Tensor, "token *prefix"], tilt: float) -> Float[Tensor, "*prefix"]:
    """``m/t log mean exp(t l / m)`` over tokens, with ``m`` the mean of the losses, a constant.

    Its gradient weighs token ``i`` by ``softmax(t l / m)_i`` (Li et al. 2021, arXiv:2007.01162, for
    a tilt of ``t / m``). Dividing by the mean makes ``t`` a number without units: at ``t = 0.002``, as
    in LISTA-Matryoshka, a token with twice the mean loss weighs 0.2 % more than one with the mean;
    at ``t = 1`` it weighs 2.7 times as much. With ``t = 0`` it is the plain mean.
    """
    if not tilt:
        return losses.mean(0)
    mean = losses.detach().mean(0).clamp_min(1e-30)
    spread = (losses / mean * tilt).logsumexp(0) - math.log(len(losses))
    return spread * mean / tilt
