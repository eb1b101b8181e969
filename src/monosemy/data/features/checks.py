"""Laws that cannot be: every reason, before anything is drawn."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from monosemy.data.features.law import AXES, Law, Rule
from monosemy.tensors.axes import Bool, Tensor

# Sums of probabilities that were meant to be one.
_SLACK = 1e-9


def unfit(law: Law) -> list[str]:
    """Why `law` cannot be, in sentences; empty where it can."""
    return list(_lost(law)) or [*_chances(law), *_families(law), *_sizes(law)]


def _lost(law: Law) -> Iterator[str]:
    """Ancestries that do not end in a root: nothing else can be asked of such a law."""
    if not law.nodes:
        yield "there are no features"
        return
    outside = (law.parents < -1) | (law.parents >= law.nodes)
    if outside.any():
        yield (
            f"{_named(outside)}: the parent is not one of the {law.nodes:,} nodes; "
            "wanted its number, or -1"
        )
        return
    above = law.parents
    for _ in range(law.nodes.bit_length()):  # 1, 2, 4 ... generations up
        above = torch.where(above >= 0, above[above.clamp(min=0)], -1)
    if (above >= 0).any():
        yield f"{_named(above >= 0)}: its own ancestor, or below one that is; a forest has no loops"


def _chances(law: Law) -> Iterator[str]:
    wrong = ~((law.chance >= 0) & (law.chance <= 1))
    if wrong.any():
        yield f"{_named(wrong)}: fires with probability {_first(law.chance, wrong)}; wanted 0 to 1"
    load = law.factor.double().square().sum(1)
    wrong = ~(load < 1)
    if wrong.any():
        yield (
            f"{_named(wrong)}: the squared loadings add up to {_first(load, wrong)}; wanted less "
            "than 1, the variance that a feature has"
        )


def _families(law: Law) -> Iterator[str]:
    bounds, children = law.families
    sums = torch.zeros(law.nodes, dtype=torch.float64)
    sums.index_add_(0, law.parents[children], law.chance.double()[children])
    wrong = (law.rules == Rule.CHOICE) & (sums > 1 + _SLACK)
    if wrong.any():
        yield (
            f"{_named(wrong)}: the children exclude each other and their probabilities add up to "
            f"{_first(sums, wrong)}; wanted at most 1"
        )
    sizes = bounds.diff()
    for rule, axes in AXES.items():
        wrong = (law.rules == rule) & (sizes != axes)
        if wrong.any():
            yield (
                f"{_named(wrong)}: a {rule.name.lower()} has {axes} axes and there are "
                f"{_first(sizes, wrong)} children"
            )
    wrong = (law.sibling_rules >= Rule.CIRCLE) & (sizes > 0)
    if wrong.any():
        yield f"{_named(wrong)}: an axis of a manifold cannot have children"


def _sizes(law: Law) -> Iterator[str]:
    for name in ("mean", "spread", "gain"):
        column = getattr(law, name)
        wrong = ~torch.isfinite(column) | ((column < 0) if name != "mean" else False)
        if wrong.any():
            wanted = "a number" if name == "mean" else "0 or more"
            yield f"{_named(wrong)}: the {name} is {_first(column, wrong)}; wanted {wanted}"


def _named(wrong: Bool[Tensor, "node"]) -> str:
    """The first nodes that are wrong, and how many more."""
    numbers = wrong.nonzero()[:, 0].tolist()
    shown = ", ".join(map(str, numbers[:3]))
    more = f" and {len(numbers) - 3:,} more" if len(numbers) > 3 else ""
    return f"feature{'s' if len(numbers) > 1 else ''} {shown}{more}"


def _first(column: Tensor, wrong: Bool[Tensor, "node"]) -> str:
    return f"{float(column[wrong][0]):.4g}"
