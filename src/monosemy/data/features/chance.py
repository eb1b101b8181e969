"""Random numbers inside compiled loops: a generator of its own for every sample.

xoshiro256++ (Blackman and Vigna 2019), seeded through SplitMix64 from a seed and the sample's number,
so that a sample is the same whichever thread draws it.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import ndtr

from monosemy.tensors.compiled.jit import loop

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_MIX1, _MIX2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_S11, _S17, _S19, _S23 = np.uint64(11), np.uint64(17), np.uint64(19), np.uint64(23)
_S27, _S30, _S31, _S41, _S45 = (np.uint64(n) for n in (27, 30, 31, 41, 45))
_UNIT = 1.0 / (1 << 53)
# Bounds on the normal distribution function: its values at so many steps, and 1 / log(1 - value).
_FROM, _STEPS, _UP_TO = -10, 32, 8
BOUNDS = ndtr(np.arange((_UP_TO - _FROM) * _STEPS + 1) / _STEPS + _FROM)
PACES = 1 / np.log1p(-BOUNDS)


@loop
def _mixed(z):  # type: ignore[no-untyped-def]
    z = (z ^ (z >> _S30)) * _MIX1
    z = (z ^ (z >> _S27)) * _MIX2
    return z ^ (z >> _S31)


@loop
def begin(state, seed, number):  # type: ignore[no-untyped-def]
    """Set `state` (four words) to the beginning of sample `number`'s stream."""
    z = _mixed(np.uint64(seed)) ^ _mixed(np.uint64(number) + _GAMMA)
    for word in range(4):
        z += _GAMMA
        state[word] = _mixed(z)


@loop
def uniform(state):  # type: ignore[no-untyped-def]
    """A number from [0, 1), in steps of 2^-53."""
    total = state[0] + state[3]
    drawn = ((total << _S23) | (total >> _S41)) + state[0]
    shifted = state[1] << _S17
    state[2] ^= state[0]
    state[3] ^= state[1]
    state[1] ^= state[2]
    state[0] ^= state[3]
    state[2] ^= shifted
    state[3] = (state[3] << _S45) | (state[3] >> _S19)
    return np.float64(drawn >> _S11) * _UNIT


@loop
def _pair(state):  # type: ignore[no-untyped-def]
    """Two independent standard normal numbers (Marsaglia's polar method)."""
    square = 2.0
    while square >= 1 or square == 0:
        x, y = 2 * uniform(state) - 1, 2 * uniform(state) - 1
        square = x * x + y * y
    scale = math.sqrt(-2 * math.log(square) / square)
    return x * scale, y * scale


@loop
def normal(state):  # type: ignore[no-untyped-def]
    """A standard normal number; its twin is not kept."""
    return _pair(state)[0]


@loop
def normals(state, out):  # type: ignore[no-untyped-def]
    """Fill `out` with standard normal numbers, two at a time."""
    for place in range(0, len(out), 2):
        one, other = _pair(state)
        out[place] = one
        if place + 1 < len(out):
            out[place + 1] = other


@loop
def below(x):  # type: ignore[no-untyped-def]
    """Share of a standard normal distribution below `x`."""
    return 0.5 * math.erfc(-x * math.sqrt(0.5))


@loop
def step_below(x):  # type: ignore[no-untyped-def]
    """The last step of the table at or before `x`, but for the very last."""
    return int(max(min((x - _FROM) * _STEPS, float(len(BOUNDS) - 2)), 0.0))


@loop
def falls_below(lot, x):  # type: ignore[no-untyped-def]
    """Whether `lot` is below the normal distribution function at `x`; mostly the table knows."""
    step = step_below(x)
    if lot >= BOUNDS[step + 1]:
        return False
    return lot < BOUNDS[step] or lot < below(x)
