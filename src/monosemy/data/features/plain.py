"""Drawing from a law in plain torch: every node of every sample, written out.

The twin that `compiled` is compared with, and what draws on other devices, where dense work is cheap.
"""

from __future__ import annotations

import math
from weakref import WeakKeyDictionary

import torch

from monosemy.data.features.law import Law, Rule
from monosemy.tensors.axes import Bool, Float, Int, Tensor
from monosemy.tensors.codes import SparseCode

# Entries of the token-by-node table that are held at once.
_ENTRIES = 1 << 24
_moved: WeakKeyDictionary[Law, dict[str, Law]] = WeakKeyDictionary()


def draw(law: Law, count: int, generator: torch.Generator) -> SparseCode:
    """The features of `count` samples, on the generator's device."""
    law, step = _on(law, str(generator.device)), max(1, _ENTRIES // law.nodes)
    sizes = [min(step, count - start) for start in range(0, count, step)] or [0]
    parts = [
        SparseCode.from_dense(dense(law, size, generator)[:, : law.features]) for size in sizes
    ]
    if len(parts) == 1:
        return parts[0]
    counts = torch.cat([part.counts for part in parts])
    offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    indices = torch.cat([part.indices for part in parts])
    values = torch.cat([part.values for part in parts])
    return SparseCode(offsets, indices, values, law.features)


def _on(law: Law, device: str) -> Law:
    """The same law on a device, moved there once."""
    if device == "cpu":
        return law
    moved = _moved.setdefault(law, {})
    if device not in moved:
        moved[device] = law.to(device)
    return moved[device]


def dense(law: Law, count: int, generator: torch.Generator) -> Float[Tensor, "token node"]:
    """The activation of every node of `count` samples; 0 where it is not active."""
    fires = _fires(law, count, generator)
    values = law.mean + law.spread * _noise(law, count, generator)
    values = values.clamp(min=0) * fires
    for depth in range(1, int(law.depths.max()) + 1):
        here = (law.depths == depth).nonzero()[:, 0]
        values[:, here] = _below(law, here, values, generator)
    return values


def _below(
    law: Law, here: Int[Tensor, "child"], values: Float[Tensor, "token node"],
    generator: torch.Generator,
) -> Float[Tensor, "token child"]:  # fmt: skip
    """The activations of the nodes `here`, their parents' being settled."""
    parents, gain = values[:, law.parents[here]], law.gain[here]
    own = values[:, here] * torch.where(gain > 0, gain * parents, (parents > 0).float())
    rules = law.sibling_rules[here]
    if (rules == Rule.CONTEST).any():
        own = own * _winners(law.parents[here], rules, own > 0, generator)
    if (rules >= Rule.CIRCLE).any():
        points = _points(law, here, len(values), generator)
        own = torch.where(rules >= Rule.CIRCLE, points * parents * gain, own)
    return own


def _fires(law: Law, count: int, generator: torch.Generator) -> Bool[Tensor, "token node"]:
    """Whether each node would fire if its parent did, before any contest."""
    device = generator.device
    own = torch.rand(count, law.nodes, generator=generator, device=device)
    chance = law.chance.float().expand(count, -1)
    if law.rank:
        common = torch.randn(count, law.rank, generator=generator, device=device)
        shift = common @ law.factor.T.float() - law.thresholds.float()
        chance = torch.special.ndtr(shift / law.remainder.float())
    # Of a family that is chosen from, all look where the same number falls.
    lots = torch.rand(count, law.nodes, generator=generator, device=device)
    shared = lots[:, law.parents.clamp(min=0)] - law.first.float()
    place = torch.where(law.sibling_rules == Rule.CHOICE, shared, own)
    chance = torch.where(law.sibling_rules == Rule.CHOICE, law.chance.float(), chance)
    return (place >= 0) & (place < chance)


def _noise(law: Law, count: int, generator: torch.Generator) -> Float[Tensor, "token node"]:
    shape, device = (count, law.nodes), generator.device
    if law.uniform:
        return torch.rand(shape, generator=generator, device=device) * 2 - 1
    return torch.randn(shape, generator=generator, device=device)


def _winners(
    parents: Int[Tensor, "child"], rules: Int[Tensor, "child"], active: Bool[Tensor, "token child"],
    generator: torch.Generator,
) -> Bool[Tensor, "token child"]:  # fmt: skip
    """Which children stay: of the active ones of a contest, the one with the highest lot."""
    lots = torch.rand(active.shape, generator=generator, device=active.device)
    lots = torch.where(active, lots, -1.0)
    families, family = parents.unique(return_inverse=True)
    best = lots.new_full((len(lots), len(families)), -1.0)
    best.scatter_reduce_(1, family.expand_as(lots), lots, "amax")
    return (lots == best[:, family]) | (rules != Rule.CONTEST)


def _points(
    law: Law, here: Int[Tensor, "child"], count: int, generator: torch.Generator
) -> Float[Tensor, "token child"]:
    """Coordinates on each family's manifold; its children are its axes, in order."""
    parents, rules = law.parents[here], law.sibling_rules[here]
    # Two angles a family: those that stand at its parent's place.
    angles = torch.rand(2, count, law.nodes, generator=generator, device=generator.device)
    first, second = (2 * math.pi * angles)[:, :, parents]
    axis = law.places[here]
    angle = torch.where((rules == Rule.TORUS) & (axis >= 2), second, first)
    point = torch.where(axis % 2 == 0, angle.cos(), angle.sin())
    point = torch.where(rules == Rule.TORUS, point * math.sqrt(1 / 2), point)
    curve = torch.where(axis == 2, (2 * angle).sin(), point) * math.sqrt(2 / 3)
    return torch.where(rules == Rule.CURVE, curve, point)
