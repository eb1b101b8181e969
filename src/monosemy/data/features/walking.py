"""The compiled walk: from the roots that fire, down through the families of what is active.

Work is proportional to what fires, not to what could: children of silent nodes are never looked at.
"""

from __future__ import annotations

import math

import numpy as np

from monosemy.data.features.chance import begin, falls_below, normal, normals, uniform
from monosemy.data.features.roots import firing_roots
from monosemy.data.features.tables import BLOCK, GROUP
from monosemy.tensors.compiled.jit import loop, sum_loop

_CONTEST, _CHOICE, _CIRCLE, _TORUS, _CURVE = range(1, 6)  # as in `law.Rule`


@loop
def walk(tables, seed, start, stop):  # type: ignore[no-untyped-def]
    """Entries of samples `start` to `stop`: how many each has, their features and values.

    One long function, because numba counts references to every array that a call hands on: taken
    apart, a sample with three features took twice as long.
    """
    nodes, features = tables.nodes, tables.features
    counts, used = np.empty(stop - start, np.int64), 0
    room = 64 * (stop - start) + features
    indices, values = np.empty(room, np.int64), np.empty(room, np.float32)
    state, common = np.empty(4, np.uint64), np.empty(tables.loads.shape[1], np.float32)
    shift, tops = np.empty(BLOCK, np.float32), np.empty(GROUP, np.float32)
    stack, sizes = np.empty(len(nodes), np.int64), np.empty(len(nodes), np.float64)
    for token in range(start, stop):
        if used + features > len(indices):
            indices, values = _longer(indices, used), _longer(values, used)
        begin(state, seed, token)
        normals(state, common)
        first = used
        height = firing_roots(tables.roots, state, common, shift, tops, stack)
        for place in range(height):
            sizes[place] = _size(nodes[stack[place]], tables.uniform, state)
        while height:
            height -= 1
            node, size = stack[height], sizes[height]
            if size <= 0:
                continue
            if node < features:
                _insert(indices, values, first, used, node, size)
                used += 1
            if nodes[node].first == nodes[node].last:
                continue
            rule, family = nodes[node].rule, tables.children[nodes[node].first : nodes[node].last]
            if rule >= _CIRCLE:
                used = _point(rule, nodes, family, size, state, indices, values, first, used)
            elif rule == _CHOICE:
                child = _chosen(nodes, family, state)
                if child >= 0:
                    stack[height] = child
                    sizes[height] = _scaled(nodes[child], tables.uniform, size, state)
                    height += 1
            else:
                below_it = tables.loads, common, rule == _CONTEST, tables.uniform, size
                height = _siblings(nodes, family, below_it, state, stack, sizes, height)
        counts[token - start] = used - first
    return counts, indices[:used], values[:used]


@loop
def _longer(array, used):  # type: ignore[no-untyped-def]
    longer = np.empty(2 * len(array), array.dtype)
    longer[:used] = array[:used]
    return longer


@loop
def _size(node, even, state):  # type: ignore[no-untyped-def]
    """A node's own activation, before its parent scales it."""
    if even:
        return node.mean + node.spread * (2 * uniform(state) - 1)
    return node.mean + node.spread * normal(state)


@loop
def _scaled(node, even, above, state):  # type: ignore[no-untyped-def]
    """A node's activation, its parent's being `above`."""
    size = _size(node, even, state)
    return size * node.gain * above if node.gain > 0 else size


@loop
def _chosen(nodes, family, state):  # type: ignore[no-untyped-def]
    """The child that is chosen, or -1."""
    lot = uniform(state)
    for child in family:
        lot -= nodes[child].chance
        if lot < 0:
            return child
    return -1


@loop
def _siblings(nodes, family, how, state, stack, sizes, height):  # type: ignore[no-untyped-def]
    """Put the active children of a node on the stack; its new height."""
    loads, common, contest, even, above = how
    base, active = height, 0
    for child in family:
        if not _fires(nodes[child], loads[child], common, uniform(state)):
            continue
        size = _scaled(nodes[child], even, above, state)
        if size <= 0:
            continue
        active += 1
        # In a contest, number n takes the place of the one before with probability 1 / n.
        if contest and active > 1:
            if uniform(state) * active >= 1:
                continue
            height = base
        stack[height], sizes[height] = child, size
        height += 1
    return height


@loop
def _fires(node, loads, common, lot):  # type: ignore[no-untyped-def]
    """Whether a child fires, given what all nodes have in common."""
    if len(common) == 0:
        return lot < node.chance
    return falls_below(lot, _dot(loads, common) - node.floor)


@sum_loop
def _dot(one, other):  # type: ignore[no-untyped-def]
    total = np.float32(0)
    for axis in range(len(one)):
        total += one[axis] * other[axis]
    return total


@loop
def _point(rule, nodes, family, size, state, indices, values, first, used):  # type: ignore[no-untyped-def]
    """Write the coordinates of a random point on a node's manifold; how many entries there are."""
    one, two = 2 * math.pi * uniform(state), 2 * math.pi * uniform(state)
    point = (math.cos(one), math.sin(one), math.cos(two), math.sin(two))
    scale = size
    if rule == _TORUS:
        scale *= math.sqrt(1 / 2)
    elif rule == _CURVE:
        scale *= math.sqrt(2 / 3)
        point = (point[0], point[1], math.sin(2 * one), 0.0)
    for axis in range(len(family)):
        child = family[axis]
        amount = point[axis] * scale * nodes[child].gain
        _insert(indices, values, first, used, child, amount)
        used += 1
    return used


@loop
def _insert(indices, values, first, used, node, value):  # type: ignore[no-untyped-def]
    """Put an entry where it belongs by the number of its feature."""
    place = used
    while place > first and indices[place - 1] > node:
        indices[place], values[place] = indices[place - 1], values[place - 1]
        place -= 1
    indices[place], values[place] = node, value
