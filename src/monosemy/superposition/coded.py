"""Activations with labelled variables: samples of a code, and codes that are made to be told apart."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from monosemy.foundation.errors import UserError, nearest, refuse
from monosemy.superposition.factorisation import ravel
from monosemy.tensors.axes import Bool, Float, Int, Tensor


@dataclass(frozen=True, eq=False)
class Coded:
    """Samples of a code, each with the value of every variable.

    Attributes
    ----------
    name : where they come from.
    x : activations.
    labels : index into the values of each variable.
    names, values : of the variables.
    group : what samples are drawn together for intervals: their document, else their own number.
    """

    name: str
    x: Float[Tensor, "point width"]
    labels: Int[Tensor, "point variable"]
    names: tuple[str, ...]
    values: tuple[tuple[str, ...], ...]
    group: Int[Tensor, "point"]

    @property
    def shape(self) -> tuple[int, ...]:
        """How many values each variable has."""
        return tuple(len(some) for some in self.values)

    @property
    def condition(self) -> Int[Tensor, "point"]:
        """The number of each sample's combination of values."""
        return ravel(self.labels, self.shape)

    def counts(self) -> Int[Tensor, "condition"]:
        """Samples of each combination."""
        return torch.bincount(self.condition, minlength=math.prod(self.shape))

    def only(self, chosen: Int[Tensor, "chosen"]) -> Coded:
        """Some of the samples."""
        return replace(self, x=self.x[chosen], labels=self.labels[chosen], group=self.group[chosen])

    def halves(self, generator: torch.Generator) -> Bool[Tensor, "point"]:
        """A random half of the groups; of samples that are their own groups, of each combination."""
        groups, owner = self.group.unique(return_inverse=True)
        if len(groups) < len(self.x):
            order = torch.randperm(len(groups), generator=generator)
            first = torch.zeros(len(groups), dtype=torch.bool)
            first[order[: len(groups) // 2]] = True
            return first[owner]
        half = torch.zeros(len(self.x), dtype=torch.bool)
        for number in range(math.prod(self.shape)):
            own = torch.nonzero(self.condition == number).flatten()
            half[own[torch.randperm(len(own), generator=generator)[: len(own) // 2]]] = True
        return half


def full(coded: Coded, least: int, most: int, generator: torch.Generator) -> Coded:
    """The part in which every combination of values has at least `least` samples, at most `most` kept.

    Values are left out one by one, always the one whose emptiest combination is emptiest.

    Errors
    ------
    `UserError` where fewer than two values of a variable are left.
    """
    kept = [list(range(size)) for size in coded.shape]
    counts = coded.counts().view(coded.shape)
    while True:
        table = counts
        for axis, some in enumerate(kept):
            table = table.index_select(axis, torch.tensor(some))
        if int(table.min()) >= least:
            break
        # The value whose combinations fall short most often, among variables that can spare one.
        short = [(int((table.select(axis, place) < least).sum()) / (table.numel() / len(some)),
                  axis, place)
                 for axis, some in enumerate(kept) if len(some) > 2
                 for place in range(len(some))]  # fmt: skip
        if not short:
            raise UserError(
                f"{coded.name}: no two values of every variable ({', '.join(coded.names)}) have "
                f"{least} samples in all combinations; read more tokens, or ask for fewer (--least)"
            )
        _, axis, place = max(short)
        del kept[axis][place]
    chosen = torch.ones(len(coded.x), dtype=torch.bool)
    labels = coded.labels.clone()
    for axis, some in enumerate(kept):
        table = torch.full((coded.shape[axis],), -1).index_put(
            (torch.tensor(some),), torch.arange(len(some))
        )
        labels[:, axis] = table[coded.labels[:, axis]]
        chosen &= labels[:, axis] >= 0
    values = tuple(tuple(coded.values[a][i] for i in some) for a, some in enumerate(kept))
    small = replace(coded, labels=labels, values=values).only(torch.nonzero(chosen).flatten())
    rows = []
    for number in range(math.prod(small.shape)):
        own = torch.nonzero(small.condition == number).flatten()
        rows.append(own[torch.randperm(len(own), generator=generator)[:most]])
    return small.only(torch.cat(rows).sort().values)


def projected(coded: Coded, dimensions: int) -> Coded:
    """Along the leading principal axes, where there are more numbers than `dimensions`."""
    if coded.x.shape[1] <= dimensions:
        return coded
    centred = coded.x.double() - coded.x.double().mean(0)
    axes = torch.linalg.eigh(centred.T @ centred).eigenvectors.flip(1)[:, :dimensions]
    return replace(coded, x=(centred @ axes).float())


# --- made codes ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class MadeConfig:
    """A code of two variables that is made: positions, and classes as their contexts."""

    positions: int = 6
    """Values of the variable that is coded one way or another."""
    classes: int = 5
    """Contexts."""
    width: int = 40
    """Numbers in an activation."""
    samples: int = 60
    """Of each combination."""
    noise: float = 0.5
    """Standard deviation of noise on every number; a position's code has length about one in each."""

    def __post_init__(self) -> None:
        reasons = []
        if self.positions < 5 or self.classes < 2:
            reasons.append(
                f"{self.positions} positions, {self.classes} classes; wanted at least 5 and 2"
            )
        if self.width < 2 * self.classes + self.classes:
            reasons.append(f"width is {self.width}; wanted at least {3 * self.classes}, a plane and "
                           "a direction for each class")  # fmt: skip
        if self.samples < 4:
            reasons.append(f"{self.samples} samples; wanted at least 4")
        refuse(reasons, "this code")


MADE = {
    "global": "the same plane and the same places of positions in it, whatever the class",
    "separate": "a plane of its own for the positions of each class",
    "turned": "one plane, in which each class turns and mirrors its positions",
    "random": "every combination has a place of its own, and classes have no direction",
}
"""Codes that `made` makes."""


def made(kind: str, config: MadeConfig, generator: torch.Generator) -> Coded:
    """Samples ``x = class direction + code of position in this class + noise``.

    Positions lie on a circle. Class directions are orthogonal to all planes and twice as long.

    Errors
    ------
    `UserError` for a kind that is not in `MADE`.
    """
    if kind not in MADE:
        raise UserError(f"unknown code {kind!r}; known: {', '.join(MADE)}{nearest(kind, MADE)}")
    P, K, width = config.positions, config.classes, config.width
    axes = torch.linalg.qr(torch.randn(width, width, generator=generator))[0]
    size = (width / 2) ** 0.5
    places = size * _MAKERS[kind](P, K, axes[:, : 2 * K].T, generator)
    # Twice as long as places are, so that most of what tells classes apart is their direction.
    directions = 2 * size * axes[:, 2 * K : 3 * K].T
    means = places if kind == "random" else places + directions[None]
    condition = torch.arange(P * K).repeat_interleave(config.samples)
    noise = torch.randn(len(condition), width, generator=generator)
    x = means.flatten(0, 1)[condition] + config.noise * noise
    labels = torch.stack([condition // K, condition % K], 1)
    values = tuple(tuple(map(str, range(size))) for size in (P, K))
    return Coded(f"made: {kind}", x, labels, ("position", "class"), values, torch.arange(len(x)))


Maker = Callable[[int, int, Tensor, torch.Generator], Tensor]


def _circle(P: int) -> Float[Tensor, "value 2"]:
    angles = torch.arange(P) * (2 * math.pi / P)
    return torch.stack([angles.cos(), angles.sin()], 1)


def _global(P: int, K: int, axes: Tensor, generator: torch.Generator) -> Tensor:
    return (_circle(P) @ axes[:2])[:, None].expand(-1, K, -1)


def _separate(P: int, K: int, axes: Tensor, generator: torch.Generator) -> Tensor:
    return torch.einsum("pr,krd->pkd", _circle(P), axes.view(K, 2, -1))


def _turned(P: int, K: int, axes: Tensor, generator: torch.Generator) -> Tensor:
    # Evenly turned, every other class mirrored: what classes have in common averages out.
    turns = torch.arange(K) * (2 * math.pi / K) + torch.rand(1, generator=generator)
    flip = torch.tensor([1.0, -1.0]).repeat(K)[:K]
    turn = torch.stack([torch.stack([turns.cos(), -turns.sin()], 1),
                        torch.stack([flip * turns.sin(), flip * turns.cos()], 1)], 1)  # fmt: skip
    return torch.einsum("pr,krs,sd->pkd", _circle(P), turn, axes[:2])


def _random(P: int, K: int, axes: Tensor, generator: torch.Generator) -> Tensor:
    return torch.nn.functional.normalize(
        torch.randn(P, K, axes.shape[1], generator=generator), dim=-1
    )


_MAKERS: dict[str, Maker] = {
    "global": _global, "separate": _separate, "turned": _turned, "random": _random,
}  # fmt: skip


def cube(bits: int, width: int, generator: torch.Generator) -> Float[Tensor, "condition width"]:
    """The corners of a cube, turned at random; the first bit runs slowest."""
    corners = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * bits)
    turn = torch.linalg.qr(torch.randn(width, width, generator=generator))[0]
    return corners @ turn[:bits]


def bits_of(bits: int) -> Bool[Tensor, "dichotomy condition"]:
    """The dichotomy of each bit of a cube."""
    corners = torch.cartesian_prod(*[torch.tensor([False, True])] * bits)
    return corners.T.contiguous()
