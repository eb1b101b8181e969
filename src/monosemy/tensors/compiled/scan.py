"""Loops that look through a tile and keep what may survive."""

from __future__ import annotations

import numpy as np
from numba import types
from numba.extending import overload

from monosemy.tensors.compiled.jit import loop
from monosemy.tensors.compiled.sums import dots_of

# Entries dismissed together: most blocks hold nothing above the floor, and asking whether any lies
# above runs in vector lanes.
BLOCK = 64


def as_float(value):  # type: ignore[no-untyped-def]
    """A tile's entry as a number; int16 stands for the bits of a bfloat16."""


@overload(as_float)
def _as_float(value):  # type: ignore[no-untyped-def]
    if value == types.int16:
        return lambda value: np.uint32(np.uint32(np.uint16(value)) << np.uint32(16)).view(
            np.float32
        )
    return lambda value: value


def bits_of(numbers):  # type: ignore[no-untyped-def]
    """The bits of an array of floats, as integers of the same size."""


@overload(bits_of)
def _bits_of(numbers):  # type: ignore[no-untyped-def]
    kind = np.int32 if numbers.dtype == types.float32 else np.int64
    return lambda numbers: numbers.view(kind)


def turned(bits):  # type: ignore[no-untyped-def]
    """Bits of a float to an integer in the same order, and back: the magnitude of negatives turned."""


@overload(turned)
def _turned(bits):  # type: ignore[no-untyped-def]
    if bits == types.int32:
        return lambda bits: np.int32(bits ^ ((bits >> np.int32(31)) & np.int32(0x7FFFFFFF)))
    return lambda bits: bits ^ ((bits >> 63) & 0x7FFFFFFFFFFFFFFF)


@loop
def largest(tile, bias, first, begin, values, indices, counts, floors, k):  # type: ignore[no-untyped-def]
    """Append entries of `tile` above their token's floor; raise the floor as `k` better are found.

    Row ``r`` of the tile is token ``begin + r``; column ``c`` is latent ``first + c``.
    """
    columns, room = tile.shape[1], values.shape[1]
    groups = BLOCK * ((4 * k + BLOCK - 1) // BLOCK)
    tops, box = np.empty(groups, values.dtype), np.empty(1, values.dtype)
    keys = np.empty_like(bits_of(np.empty(max(room, groups), values.dtype)))
    for r in range(tile.shape[0]):
        row, token = tile[r], begin + r
        n, floor = counts[token], floors[token]
        mine, places = values[token], indices[token]
        if first == 0 and 2 * groups <= columns:
            floor = max(floor, _bound(row, bias, k, tops, keys, box))
        for low in range(0, columns, BLOCK):
            high = low + BLOCK
            if high <= columns and not _any_above(row[low:high], bias[low:high], floor):
                continue
            for c in range(low, min(high, columns)):
                value = as_float(row[c]) + bias[c]
                if value > floor:
                    mine[n], places[n] = value, first + c
                    n += 1
            if n > room - BLOCK:
                floor = compact(mine, places, n, k, keys)
                n = k
        counts[token], floors[token] = n, floor


@loop
def above(  # type: ignore[no-untyped-def]
    tile, bias, first, begin, floor, margins, values, indices, tokens, filled, r
):
    """Append entries above ``floor[latent] - margin``, from row `r` on, for as long as they fit.

    Returns the row that it came to and how many entries there are now.
    """
    columns, room = tile.shape[1], len(values)
    while r < tile.shape[0] and filled + columns <= room:
        row, margin = tile[r], margins[begin + r]
        for low in range(0, columns, BLOCK):
            high = low + BLOCK
            if high <= columns and not _any_above_each(
                row[low:high], bias[low:high], floor[low:high], margin
            ):
                continue
            for c in range(low, min(high, columns)):
                value = as_float(row[c]) + bias[c]
                if value > floor[c] - margin:
                    values[filled], indices[filled] = value, first + c
                    tokens[filled] = begin + r
                    filled += 1
        r += 1
    return r, filled


@loop
def finish(values, indices, counts, k, kept, where, start, stop):  # type: ignore[no-untyped-def]
    """Bring every token down to `k` entries, into `kept` and `where`."""
    keys = np.empty_like(bits_of(values[0]))
    for token in range(start, stop):
        n = counts[token]
        if n > k:
            compact(values[token], indices[token], n, k, keys)
            n = k
        kept[token, :n], where[token, :n] = values[token, :n], indices[token, :n]
        counts[token] = n


@loop
def decide(  # type: ignore[no-untyped-def]
    values, indices, counts, limit, k, margins, rounding, x, W, b, short, start, stop
):
    """Replace proposals that could be among the `k` largest by the truth, and drop the others.

    The `k` largest proposals are computed first. The least of them bounds the ``k``-th of all
    from below, so an entry whose proposal is a margin lower cannot be among the `k`. `short` where
    entries that could be were dropped before, because there was room for `limit` only.
    """
    room, kind = values.shape[1], values.dtype.type
    keys, truths = np.empty_like(bits_of(values[0])), np.empty(room, values.dtype)
    best, more = np.empty(room, indices.dtype), np.empty(room, indices.dtype)
    for token in range(start, stop):
        n, mine, places = counts[token], values[token], indices[token]
        if n > limit:
            compact(mine, places, n, limit, keys)
            n = limit
        above = np.int64(-(2**62))
        ranked(mine, n, keys)
        if n > k:
            above = np.int64(split(keys, n, k)[0])
        found = 0
        for place in range(n):
            if keys[place] > above:
                best[found] = places[place]
                found += 1
        dots_of(x[token], W, best, found, truths)
        least, lowest = kind(np.inf), kind(np.inf)
        for place in range(found):
            least = min(least, truths[place] + b[best[place]])
        cut = kind(least - margins[token] - rounding * abs(least))
        others = 0
        for place in range(n):
            lowest = min(lowest, mine[place])
            # Where the cut is no number (infinite entries), none is certain to go.
            if keys[place] <= above and not mine[place] < cut:
                more[others] = places[place]
                others += 1
        short[token] = n == limit and n < len(W) and not lowest < cut
        dots_of(x[token], W, more, others, truths[found:])
        left, a, c = 0, 0, 0  # both lists are in order of latent
        while a < found or c < others:
            if c == others or (a < found and best[a] < more[c]):
                latent, value = best[a], truths[a]
                a += 1
            else:
                latent, value = more[c], truths[found + c]
                c += 1
            value += b[latent]
            if value > 0:
                mine[left], places[left] = value, latent
                left += 1
        counts[token] = left


@loop
def compact(values, indices, n, k, keys):  # type: ignore[no-untyped-def]
    """Keep the `k` largest of the first `n`, in their order, of equal ones the first; their least."""
    ranked(values, n, keys)
    cut, more = split(keys, n, k)
    least = values.dtype.type(np.inf)
    left = 0
    for place in range(n):
        value, key = values[place], keys[place]
        if key > cut:
            if key == cut + 1 and more > 0:  # equal ones, of which there are too many
                ties = 0
                for later in range(place + 1, n):
                    ties += keys[later] == key
                if ties < more:
                    more -= 1
                    continue
            values[left], indices[left] = value, indices[place]
            least = min(least, value)
            left += 1
    return least


@loop
def ranked(values, n, keys):  # type: ignore[no-untyped-def]
    """Integers in the order of the first `n` numbers: the bits, turned over where negative."""
    bits = bits_of(values[:n])
    for place in range(n):
        keys[place] = turned(bits[place])


@loop
def split(keys, n, k):  # type: ignore[no-untyped-def]
    """The key above which `k` of the first `n` lie, and how many more than `k` do.

    By bisection: a count runs in vector lanes, and about ten of them are enough. More than `k` lie
    above where the ``k``-th is one of several equal keys.
    """
    low, high = keys[0], keys[0]
    for place in range(n):
        low, high = min(low, keys[place]), max(high, keys[place])
    low = keys.dtype.type(low - 1)
    found = n
    while found != k and np.int64(high) - np.int64(low) > 1:
        middle = keys.dtype.type(low + (np.int64(high) - np.int64(low)) // 2)
        count = np.int32(0)
        for place in range(n):
            # numba adds in 64 bits, which is half as many lanes, unless told otherwise
            count = np.int32(count + np.int32(keys[place] > middle))
        if count >= k:
            low, found = middle, count
        else:
            high = middle
    return low, found - k


@loop
def _any_above(row, bias, floor):  # type: ignore[no-untyped-def]
    found = False
    for c in range(BLOCK):  # a length known while compiling is what lets this run in vector lanes
        found |= as_float(row[c]) + bias[c] > floor
    return found


@loop
def _any_above_each(row, bias, floor, margin):  # type: ignore[no-untyped-def]
    found = False
    for c in range(BLOCK):
        found |= as_float(row[c]) + bias[c] > floor[c] - margin
    return found


@loop
def _bound(row, bias, k, tops, keys, box):  # type: ignore[no-untyped-def]
    """A number above which at least `k` entries of `row` are certain to lie.

    At least `k` of the maxima of as many groups as `tops` has places lie above it; a group is
    every ``len(tops)``-th column, so that maxima are taken in vector lanes.
    """
    groups = len(tops)
    tops[:] = -np.inf
    for low in range(0, len(row) - len(row) % groups, groups):
        for begin in range(0, groups, BLOCK):
            for g in range(BLOCK):
                value = as_float(row[low + begin + g]) + bias[low + begin + g]
                top = tops[begin + g]
                tops[begin + g] = value if value > top else top
    ranked(tops, groups, keys)
    bits_of(box)[0] = turned(split(keys, groups, k)[0])
    return box[0]
