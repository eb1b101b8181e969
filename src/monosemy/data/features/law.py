"""Law: which features fire together and how strongly, as a forest of nodes."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from enum import IntEnum
from functools import cached_property
from hashlib import sha256
from typing import Any

import torch

from monosemy.tensors.axes import Float, Int, Tensor


class Rule(IntEnum):
    """How the children of a node fire once the node itself is active."""

    ALONE = 0
    """Each with its own chance."""
    CONTEST = 1
    """Each with its own chance; of several that do, one stays, all equally likely."""
    CHOICE = 2
    """At most one, drawn with these chances."""
    CIRCLE = 3
    """Both: the coordinates of a point on a circle."""
    TORUS = 4
    """All four: the coordinates of a point on a flat torus, two circles side by side."""
    CURVE = 5
    """All three: the coordinates of a point on a closed curve that fills no plane."""


AXES = {Rule.CIRCLE: 2, Rule.TORUS: 4, Rule.CURVE: 3}
"""Children that a node with a manifold has: the dimensions that its points span."""


@dataclass(frozen=True, eq=False)
class Law:
    """How the nodes of a forest fire.

    Nodes below `features` are features. The others are gates: they fire and have children as
    features do, and write nothing. A node can fire only where its parent does. Alone, it fires
    where

        z > t,    z = <factor, e> + sqrt(1 - |factor|²) n,    P(z > t) = chance

    with ``e`` (one vector a sample) and ``n`` standard normal: a Gaussian copula of low rank.
    Its activation is

        a = max(0, mean + spread · u) · (gain · a of its parent, where gain > 0)

    with ``u`` standard normal, or uniform on [-1, 1]. A node whose activation is zero is not
    active, and neither are its children.

    Attributes
    ----------
    features : how many of the nodes write.
    parents : parent of each node; -1 for a root.
    chance : probability that a node fires, its parent being active and before any contest.
    rules : how the node's children fire; see `Rule`.
    mean, spread, gain : of the activation, as above.
    factor : loadings on what the nodes have in common; rank 0 for independent nodes.
    uniform : whether ``u`` is uniform.
    """

    features: int
    parents: Int[Tensor, "node"]
    chance: Float[Tensor, "node"]
    rules: Int[Tensor, "node"]
    mean: Float[Tensor, "node"]
    spread: Float[Tensor, "node"]
    gain: Float[Tensor, "node"]
    factor: Float[Tensor, "node rank"]
    uniform: bool = False

    @property
    def nodes(self) -> int:
        """Features and gates together."""
        return len(self.parents)

    @property
    def rank(self) -> int:
        """Numbers that the nodes have in common; 0 for independent nodes."""
        return self.factor.shape[1]

    @cached_property
    def depths(self) -> Int[Tensor, "node"]:
        """Ancestors of each node, gates included."""
        depths = torch.zeros_like(self.parents)
        above = self.parents.clone()
        while (below := above >= 0).any():
            depths += below
            above = torch.where(below, self.parents[above.clamp(min=0)], -1)
        return depths

    @cached_property
    def families(self) -> tuple[Int[Tensor, "bounds"], Int[Tensor, "child"]]:
        """Where the children of each node begin (and the end), and the children in that order."""
        order = torch.argsort(self.parents, stable=True)
        roots = int((self.parents < 0).sum())
        counts = torch.bincount(self.parents[order[roots:]], minlength=self.nodes)
        return torch.cat([counts.new_zeros(1), counts.cumsum(0)]), order[roots:]

    @cached_property
    def places(self) -> Int[Tensor, "node"]:
        """Each node's place among its siblings, from 0; 0 for roots."""
        bounds, children = self.families
        places = torch.zeros_like(self.parents)
        order = torch.arange(len(children), device=places.device)
        places[children] = order - bounds[self.parents[children]]
        return places

    @cached_property
    def sibling_rules(self) -> Int[Tensor, "node"]:
        """The rule by which each node fires: its parent's; roots fire alone."""
        rules = self.rules[self.parents.clamp(min=0)]
        return torch.where(self.parents < 0, int(Rule.ALONE), rules)

    @cached_property
    def thresholds(self) -> Float[Tensor, "node"]:
        """``t`` of the copula: infinite where the chance is 0 or 1."""
        return -torch.special.ndtri(self.chance.double())

    @cached_property
    def remainder(self) -> Float[Tensor, "node"]:
        """Standard deviation that a node has to itself: ``sqrt(1 - |factor|²)``."""
        return (1 - self.factor.double().square().sum(1)).sqrt()

    @cached_property
    def first(self) -> Float[Tensor, "node"]:
        """Under `Rule.CHOICE`, where each child's share of [0, 1) begins; 0 elsewhere."""
        bounds, children = self.families
        begins = torch.zeros_like(self.chance, dtype=torch.float64)
        shares = self.chance.double()[children]
        sums = torch.cat([shares.new_zeros(1), shares.cumsum(0)])
        begins[children] = sums[:-1] - sums[bounds[self.parents[children]]]
        return torch.where(self.sibling_rules == Rule.CHOICE, begins, 0.0)

    def to(self, device: str | torch.device) -> Law:
        """The same law on another device."""
        tensors: dict[str, Any] = {
            field.name: value.to(device)
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        return replace(self, **tensors)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over every number of the law."""
        digest = sha256(f"{self.features} {self.uniform}".encode())
        for field in fields(self):
            if isinstance(value := getattr(self, field.name), Tensor):
                digest.update(f"\0{field.name} {tuple(value.shape)}".encode())
                digest.update(value.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()
