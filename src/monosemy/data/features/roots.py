"""Which roots fire: those that surely stay silent are passed over a group at a time.

A group of roots has a common bound on its chances. How many roots are skipped until a coin of that
bound shows heads is one geometric number, and the root it falls on fires with probability
chance / bound. The result is exact, whatever the bounds.
"""

from __future__ import annotations

import math

from monosemy.data.features.chance import BOUNDS, PACES, falls_below, step_below, uniform
from monosemy.data.features.tables import BLOCK, GROUP, PASS
from monosemy.tensors.compiled.jit import loop, sum_loop


@loop
def firing_roots(roots, state, common, shift, tops, firing):  # type: ignore[no-untyped-def]
    """Write the roots that fire into `firing`, and return how many there are.

    `common` is what the nodes have in common, drawn already; `shift` and `tops` are room to work in.
    """
    found = 0
    for block in range(len(roots.nodes)):
        nodes = roots.nodes[block]
        if len(common):
            _shifts(roots.loads[block], roots.floors[block], common, shift)
            _tops(shift, tops)
            found = _correlated(nodes, shift, tops, state, firing, found)
        else:
            bounds, paces = roots.bounds[block], roots.paces[block]
            found = _alone(nodes, roots.chance[block], bounds, paces, state, firing, found)
    return found


@loop
def _alone(nodes, chance, bounds, paces, state, firing, found):  # type: ignore[no-untyped-def]
    for group in range(GROUP):
        bound, pace, lot = bounds[group], paces[group], uniform(state)
        # (1 - p)^n >= 1 - n p: the group is silent, without a logarithm.
        if lot >= GROUP * bound:
            continue
        place = group + GROUP * _skipped(lot, pace)
        while place < BLOCK:
            if uniform(state) * bound < chance[place]:
                firing[found] = nodes[place]
                found += 1
            place += GROUP * (1 + _skipped(uniform(state), pace))
    return found


@loop
def _correlated(nodes, shift, tops, state, firing, found):  # type: ignore[no-untyped-def]
    """`_alone`, where chances follow from the shifts."""
    for group in range(GROUP):
        step, lot = step_below(tops[group]) + 1, uniform(state)
        bound, pace = BOUNDS[step], PACES[step]
        if lot >= GROUP * bound:
            continue
        place = group + GROUP * _skipped(lot, pace)
        while place < BLOCK:
            if falls_below(uniform(state) * bound, shift[place]):
                firing[found] = nodes[place]
                found += 1
            place += GROUP * (1 + _skipped(uniform(state), pace))
    return found


@loop
def _skipped(lot, pace):  # type: ignore[no-untyped-def]
    """Tails before the first head of a coin, whose pace is 1 / log(probability of tails)."""
    return int(min(math.log(1.0 - lot) * pace, float(GROUP)))


@sum_loop
def _shifts(loads, floors, common, out):  # type: ignore[no-untyped-def]
    """``out = <loads, common> - floors`` of a block."""
    for place in range(BLOCK):
        out[place] = -floors[place]
    for axis in range(0, len(common), PASS):
        p, q, r = common[axis], common[axis + 1], common[axis + 2]
        s, t = common[axis + 3], common[axis + 4]
        a, b, c = loads[axis], loads[axis + 1], loads[axis + 2]
        d, e = loads[axis + 3], loads[axis + 4]
        for place in range(BLOCK):
            first = p * a[place] + q * b[place] + r * c[place]
            out[place] += first + s * d[place] + t * e[place]


@sum_loop
def _tops(shift, tops):  # type: ignore[no-untyped-def]
    """The largest of each group."""
    for group in range(GROUP):
        tops[group] = shift[group]
    for member in range(1, GROUP):
        row = shift[GROUP * member : GROUP * (member + 1)]
        for group in range(GROUP):
            tops[group] = row[group] if row[group] > tops[group] else tops[group]
