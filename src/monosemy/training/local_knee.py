"""Where a sharing curve bends."""

from __future__ import annotations

from monosemy.tensors.axes import Float, Tensor

# A curve that is straight, or bends slowly, rises less above its chord.
_CLEAR = 0.5


def knee(captured: Float[Tensor, "charts"], clear: float = _CLEAR) -> int | None:
    """The number of charts after which more of them hardly capture more; `None` without such.

    The point farthest above the straight line from the first to the last (Satopää et al. 2011,
    "kneedle"), both axes scaled to one, if it is more than `clear` above it.
    """
    if len(captured) < 3:
        return None
    first, last = float(captured[0]), float(captured[-1])
    if not last > first:
        return 1
    count = len(captured)
    heights = [(float(value) - first) / (last - first) - n / (count - 1)
               for n, value in enumerate(captured)]  # fmt: skip
    best = max(range(count), key=heights.__getitem__)
    return best + 1 if heights[best] > clear else None
