"""Is a code local or global? Everything that is asked of samples with labelled variables."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from monosemy.foundation.errors import UserError, refuse
from monosemy.foundation.progress import SILENT, Progress
from monosemy.superposition.coded import (
    MADE,
    Coded,
    MadeConfig,
    bits_of,
    cube,
    full,
    made,
    projected,
)
from monosemy.superposition.disentanglement import disentangled
from monosemy.superposition.factorisation import (
    Grid,
    factorisation,
    sharing,
    variance_shares,
)
from monosemy.superposition.mixing import (
    balanced,
    blocks,
    by_condition,
    carried_over,
    decoded,
    interval,
    jackknife,
    parallelism,
    shattering_count,
)
from monosemy.tensors.axes import Bool, Float, Int, Tensor
from monosemy.tensors.compute import Compute

BITS = 3
_MOST_DICHOTOMIES = 60
_CELLS = 64
"""Combinations above which dichotomies say little and cost much."""


@dataclass(frozen=True)
class CodesConfig:
    """How a code is looked at."""

    least: int = 40
    """Samples of every combination of values; values that lack them are left out."""
    most: int = 300
    """Samples of every combination that are kept."""
    dimensions: int = 64
    """Principal axes that are looked at, where activations have more numbers."""
    draws: int = 20
    """Draws of each null."""

    def __post_init__(self) -> None:
        wanted = {"least": 4, "most": self.least, "dimensions": 2, "draws": 1}
        refuse(
            [f"{name} is {getattr(self, name)}; wanted at least {few}"
             for name, few in wanted.items() if getattr(self, name) < few], "this look at a code",
        )  # fmt: skip


def examine_code(
    coded: Coded, config: CodesConfig, compute: Compute, progress: Progress = SILENT
) -> dict[str, Any]:
    """Every measure of a code, with nulls and intervals, as JSON.

    Errors
    ------
    `UserError` for one variable alone, and where combinations have too few samples.
    """
    if len(coded.names) < 2:
        raise UserError(
            f"{coded.name} has one variable ({', '.join(coded.names)}); whether its code is local "
            "can only be said across the values of another"
        )
    coded = full(coded, config.least, config.most, compute.generator("samples of a code"))
    coded = projected(coded, config.dimensions)
    half = coded.halves(compute.generator("halves of a code"))
    grid = Grid.of(coded.x, coded.labels, half, coded.names, coded.values)
    found: dict[str, Any] = {
        "name": coded.name, "samples": len(coded.x), "groups": len(coded.group.unique()),
        "width": coded.x.shape[1], "conditions": math.prod(coded.shape),
        "fewest": int(coded.counts().min()), "variance": variance_shares(grid), "variables": {},
    }  # fmt: skip
    with progress.task("code", len(coded.names) + 2, "steps") as task:
        for number, name in enumerate(coded.names):
            found["variables"][name] = _variable(coded, grid, half, number, config, compute)
            task.advance(1, name)
        found["shattering"] = _shattering(coded, half, compute)
        task.advance(1, "dichotomies")
        found["disentanglement"] = _disentangled(coded, half, compute)
        task.advance(1)
    return found


def _variable(
    coded: Coded, grid: Grid, half: Bool[Tensor, "point"], number: int, config: CodesConfig,
    compute: Compute,
) -> dict[str, Any]:  # fmt: skip
    name = coded.names[number]
    condition, pairs = _contexts(coded, number)
    right = _carried(coded.x, condition, pairs)
    draw = compute.generator(f"groups drawn again/{name}")
    low, high = interval(right, condition, coded.group, draw)
    shared = sharing(grid, number)
    own = _measures(coded, half, number)
    spread = _spread(coded, half, number, own, draw)
    nulls = {kind: _null(change, coded, half, number, config.draws,
                         compute.generator(f"null {kind}/{name}"))
             for kind, change in _NULLS.items()}  # fmt: skip
    within = _within(coded, condition, pairs, half)
    return {
        "values": list(coded.values[number]), "contexts": shared.contexts,
        "decoding": by_condition(within, condition),
        "ccgp": {"value": by_condition(right, condition), "low": low, "high": high,
                 "null": {kind: null["ccgp"] for kind, null in nulls.items()}},
        **{key: {"value": own[key], **spread[key],
                 "null": {kind: null[key] for kind, null in nulls.items() if key in null}}
           for key in own},
        "sharing": shared.to_json(), "kind": shared.kind,
        **factorisation(grid, number),
    }  # fmt: skip


Pairs = list[tuple[list[int], list[int]]]
"""Conditions of two values of a variable, context by context."""


def _contexts(coded: Coded, number: int) -> tuple[Int[Tensor, "point"], Pairs]:
    """Conditions with this variable slowest, and every pair of its values."""
    order = [number, *(i for i in range(len(coded.names)) if i != number)]
    turned = replace(
        coded, labels=coded.labels[:, order], values=tuple(coded.values[i] for i in order)
    )
    values = coded.shape[number]
    contexts = math.prod(coded.shape) // values
    own = [list(range(v * contexts, (v + 1) * contexts)) for v in range(values)]
    return turned.condition, [(own[v], own[u]) for v in range(values) for u in range(v)]


Read = Callable[[Int[Tensor, "chosen"], Int[Tensor, "chosen"], Bool[Tensor, "condition"]], Tensor]
"""From samples, their conditions and the sides, to how often each is read rightly."""


def _over_pairs(
    condition: Int[Tensor, "point"], pairs: Pairs, read: Read
) -> Float[Tensor, "point"]:
    """Mean over pairs of values of how often each sample is read rightly."""
    right, times = torch.zeros(2, len(condition), dtype=torch.float64)
    for positive, negative in pairs:
        both = positive + negative
        table = torch.full((int(condition.max()) + 1,), -1)
        table[torch.tensor(both)] = torch.arange(len(both))
        local = table[condition]
        there = torch.nonzero(local >= 0).flatten()
        right[there] += read(there, local[there], torch.arange(len(both)) < len(positive))
        times[there] += 1
    return right / times


def _carried(
    x: Float[Tensor, "point width"], condition: Int[Tensor, "point"], pairs: Pairs
) -> Float[Tensor, "point"]:
    return _over_pairs(
        condition, pairs, lambda there, own, side: carried_over(x[there], own, side, matched=True)
    )


def _within(
    coded: Coded, condition: Int[Tensor, "point"], pairs: Pairs, half: Bool[Tensor, "point"]
) -> Float[Tensor, "point"]:
    return _over_pairs(
        condition, pairs,
        lambda there, own, side: decoded(coded.x[there], own, side[None], half[there])[0],
    )  # fmt: skip


def _parallel(grid: Grid, number: int) -> float:
    """Mean over pairs of values of the best pairing of their contexts."""
    means = grid.by(number).mean(0)
    values, contexts = means.shape[:2]
    side = torch.arange(2 * contexts) < contexts
    found = [
        parallelism(torch.cat([means[v], means[u]]), side) for v in range(values) for u in range(v)
    ]
    return sum(found) / len(found)


def _measures(
    coded: Coded,
    half: Bool[Tensor, "point"],
    number: int,
    order: Int[Tensor, "chosen"] | None = None,
) -> dict[str, float]:
    """Parallelism and what is common, of these samples or of a resample."""
    some = coded if order is None else coded.only(order)
    grid = Grid.of(
        some.x, some.labels, half if order is None else half[order], some.names, some.values
    )
    return {"parallelism": _parallel(grid, number), "common": sharing(grid, number).common}


def _spread(
    coded: Coded, half: Bool[Tensor, "point"], number: int, own: dict[str, float],
    generator: torch.Generator,
) -> dict[str, dict[str, float | None]]:  # fmt: skip
    """Intervals of `_measures`, by leaving out a twentieth of the groups in turn."""
    block = blocks(coded.group, generator)
    without = []
    for number_of_block in block.unique().tolist():
        try:
            left = torch.nonzero(block != number_of_block).flatten()
            without.append(_measures(coded, half, number, left))
        except UserError:  # a combination lost all its samples: too few documents for an interval
            return {name: {"low": None, "high": None} for name in own}
    found: dict[str, dict[str, float | None]] = {}
    for name, value in own.items():
        low, high = jackknife(value, [one[name] for one in without])
        found[name] = {"low": low, "high": high}
    return found


# --- nulls ---------------------------------------------------------------------------------------


def _shuffled(coded: Coded, generator: torch.Generator) -> Coded:
    """Labels dealt anew among all samples: nothing is coded."""
    order = torch.randperm(len(coded.x), generator=generator)
    return replace(coded, labels=coded.labels[order])


def _scattered(coded: Coded, generator: torch.Generator) -> Coded:
    """Every condition's cloud moved to a random place, places as far apart as before."""
    condition, many = coded.condition, math.prod(coded.shape)
    counts = coded.counts().double()
    x = coded.x.double()
    means = torch.zeros(many, x.shape[1], dtype=torch.float64).index_add(0, condition, x)
    means = means / counts[:, None]
    spread = (means - means.mean(0)).square().sum(1).mean()
    places = torch.randn(means.shape, generator=generator, dtype=torch.float64)
    places = places * (spread / places.square().sum(1).mean()).sqrt()
    return replace(coded, x=(x - means[condition] + places[condition]).to(coded.x))


_NULLS: dict[str, Callable[[Coded, torch.Generator], Coded]] = {
    "labels shuffled": _shuffled, "random geometry": _scattered,
}  # fmt: skip


def _null(
    change: Callable[[Coded, torch.Generator], Coded], coded: Coded, half: Bool[Tensor, "point"],
    number: int, draws: int, generator: torch.Generator,
) -> dict[str, dict[str, float]]:  # fmt: skip
    """Mean and 95 % quantile of every measure under a null."""
    found = dict[str, list[float]](ccgp=[], parallelism=[], common=[])
    for _ in range(draws):
        other = change(coded, generator)
        condition, pairs = _contexts(other, number)
        if int(other.counts().min()) < 2:
            continue
        found["ccgp"].append(by_condition(_carried(other.x, condition, pairs), condition))
        try:
            again = _measures(other, half, number)
        except UserError:  # a combination without a sample in one half
            continue
        for name, value in again.items():
            found[name].append(value)
    if change is _shuffled:
        del found["common"]  # a ratio of noise to noise
    return {name: {"mean": float(torch.tensor(values).mean()),
                   "high": float(torch.tensor(values).quantile(0.95)), "draws": len(values)}
            for name, values in found.items() if values}  # fmt: skip


# --- dichotomies, axes ---------------------------------------------------------------------------


def _shattering(coded: Coded, half: Bool[Tensor, "point"], compute: Compute) -> dict[str, Any]:
    """Mean accuracy over balanced dichotomies of all conditions, held out by halves."""
    many = math.prod(coded.shape)
    if many > _CELLS or many % 2:
        why = "odd" if many % 2 else f"more than {_CELLS}"
        return {"note": f"{many} conditions are {why}: left out"}
    sides = balanced(many, _MOST_DICHOTOMIES, compute.generator("dichotomies"))
    right = decoded(coded.x, coded.condition, sides, half)
    shares = [by_condition(row, coded.condition) for row in right]
    return {"dimensionality": sum(shares) / len(shares), "dichotomies": len(sides)}


def _disentangled(coded: Coded, half: Bool[Tensor, "point"], compute: Compute) -> dict[str, Any]:
    own = disentangled(coded.x, coded.labels, half, compute).to_json()
    shuffled = _shuffled(coded, compute.generator("labels of axes shuffled"))
    null = disentangled(coded.x, shuffled.labels, half, compute).to_json()
    return {**own, "shuffled": null}


# --- the cube ------------------------------------------------------------------------------------


def examine_cube(width: int, compute: Compute, draws: int = 100) -> dict[str, Any]:
    """Three bits on the corners of a cube, and eight random points, without noise.

    Returns ``{ccgp, parallelism, shattering_count, dichotomies, variables, random}``.
    """
    if width < 2**BITS - 1:
        raise UserError(
            f"width is {width}; wanted at least {2**BITS - 1}: fewer dimensions hold no eight points "
            "in general position"
        )
    draw = compute.generator("a cube")
    corners = cube(BITS, width, draw)
    names = [f"bit {number}" for number in range(BITS)]
    own = _of_bits(corners)
    count, dichotomies = shattering_count(corners)
    others = [torch.randn(2**BITS, width, generator=draw) for _ in range(draws)]
    nothing = [_of_bits(points) for points in others]
    return {
        "ccgp": sum(ccgp for ccgp, _ in own) / BITS, "parallelism": sum(ps for _, ps in own) / BITS,
        "shattering_count": count, "dichotomies": dichotomies, "conditions": 2**BITS, "width": width,
        "variables": {name: {"ccgp": ccgp, "parallelism": ps}
                      for name, (ccgp, ps) in zip(names, own, strict=True)},
        "random": {
            "draws": draws,
            "ccgp": sum(c for one in nothing for c, _ in one) / (BITS * draws),
            "parallelism": sum(p for one in nothing for _, p in one) / (BITS * draws),
            "shattering_count": [shattering_count(points)[0] for points in others[:5]],
        },
    }  # fmt: skip


def _of_bits(points: Float[Tensor, "condition width"]) -> list[tuple[float, float]]:
    """CCGP and parallelism of each bit."""
    conditions = torch.arange(len(points))
    return [
        (
            by_condition(carried_over(points, conditions, side), conditions),
            parallelism(points, side),
        )
        for side in bits_of(BITS)
    ]


def examine_made(
    config: CodesConfig, compute: Compute, progress: Progress = SILENT
) -> list[dict[str, Any]]:
    """Codes of every kind in `coded.MADE`."""
    found = []
    for kind in MADE:
        coded = made(kind, MadeConfig(), compute.generator(f"made {kind}"))
        found.append(examine_code(coded, config, compute, progress))
    return found
