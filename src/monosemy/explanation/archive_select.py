"""Filters and sorts all features of an archive by their columns, in milliseconds for a million."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from monosemy.foundation.errors import UserError, nearest

Range = tuple[float | None, float | None]
"""Lowest and highest value that pass, both included; `None` for no limit."""


def select(
    column: Callable[[str], np.ndarray],
    flags: Sequence[str],
    features: int,
    filters: Mapping[str, Range],
    sort: str | None,
    descending: bool,
    offset: int,
    limit: int | None,
    wanted: Sequence[str] = (),
    unwanted: Sequence[str] = (),
    among: Sequence[int] | np.ndarray | None = None,
) -> tuple[int, np.ndarray]:
    """How many features pass, and the numbers of those at places `offset` to `offset` + `limit`.

    Of equal values the lower number comes first, whichever way is sorted. A feature without a value
    (NaN) passes no filter on that column, and is sorted last.

    Parameters
    ----------
    column : a column by its name; refuses an unknown one.
    flags : names of the flags, bit by bit.
    features : how many.
    filters : column to the range that passes.
    sort : a column, or `None` for the order of `among`, or else of the numbers.
    limit : `None` for all.
    wanted, unwanted : flags that have to be set, and must not be.
    among : only these; numbers that are no features are passed over.
    """
    if offset < 0 or (limit is not None and limit < 0):
        raise UserError(f"offset is {offset} and limit {limit}; wanted 0 or more")
    passing = _passing(column, flags, features, filters, wanted, unwanted)
    if among is None:
        ids = np.arange(features) if passing is None else np.flatnonzero(passing)
    else:
        given = np.asarray(among, dtype=np.int64).reshape(-1)
        given = given[(given >= 0) & (given < features)]
        if sort is not None:
            given = np.unique(given)
        ids = given if passing is None else given[passing[given]]
    total = len(ids)
    stop = total if limit is None else min(total, offset + limit)
    if sort is None:
        return total, ids[offset:stop]
    if offset >= stop:
        return total, ids[:0]
    values = column(sort)
    keys = _keys(values if total == features else values[ids], ids, descending)
    if stop < total:  # the first few of very many: no need to sort the rest
        keys = np.partition(keys, stop - 1)[:stop]
    keys.sort()
    return total, (keys[offset:stop] & np.uint64(0xFFFFFFFF)).astype(np.int64)


def _passing(
    column: Callable[[str], np.ndarray],
    flags: Sequence[str],
    features: int,
    filters: Mapping[str, Range],
    wanted: Sequence[str],
    unwanted: Sequence[str],
) -> np.ndarray | None:
    """A mask over all features; `None` where nothing is asked for."""
    masks = []
    for name, (low, high) in filters.items():
        values = column(name)
        if low is not None:
            masks.append(values >= low)
        if high is not None:
            masks.append(values <= high)
        if low is None and high is None:
            masks.append(values == values)
    on, off = _bits(flags, wanted), _bits(flags, unwanted)
    if on or off:
        masks.append((column("flags") & np.uint32(on | off)) == np.uint32(on))
        if on & off:
            masks.append(np.zeros(features, dtype=bool))
    if not masks:
        return None
    passing = masks[0]
    for mask in masks[1:]:
        passing &= mask
    return passing


def _bits(flags: Sequence[str], names: Sequence[str]) -> int:
    bits = 0
    for name in names:
        if name not in flags:
            raise UserError(
                f"this archive has no flag {name!r}; it has: {', '.join(flags)}{nearest(name, flags)}"
            )
        bits |= 1 << list(flags).index(name)
    return bits


def _keys(values: np.ndarray, ids: np.ndarray, descending: bool) -> np.ndarray:
    """64-bit keys whose order is that of the values, then of the numbers; NaN comes last.

    A float's bits rise with it as whole numbers do, once negative ones are turned over
    (Herf 2001, radix tricks). One sort of plain numbers is several times faster than an argsort.
    """
    if values.dtype.kind == "f":
        bits = (values.astype(np.float32) + np.float32(0)).view(np.uint32)  # -0 becomes 0
        high = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))
    elif values.dtype.kind == "i":
        high = values.astype(np.int32).view(np.uint32) ^ np.uint32(1 << 31)
    else:
        high = values.astype(np.uint32)
    if descending:
        high = ~high
    if values.dtype.kind == "f":
        high = np.where(np.isnan(values), np.uint32(0xFFFFFFFF), high)
    return high.astype(np.uint64) << np.uint64(32) | ids.astype(np.uint64)
