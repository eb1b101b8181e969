"""Forest: a world put together feature by feature."""

from __future__ import annotations

from typing import NamedTuple

import torch

from monosemy.data.features.law import Law, Rule
from monosemy.data.features.rates import rates
from monosemy.data.features.truth import Features
from monosemy.data.features.world import World
from monosemy.tensors.axes import Float, Tensor


class _Node(NamedTuple):
    """A row of a law; parents that are gates are still negative."""

    parent: int
    chance: float
    rule: Rule
    mean: float
    spread: float
    gain: float


class Forest:
    """Gathers the nodes of a law and what each writes; `world` is the result.

    Features are numbered in the order in which they come.

    Parameters
    ----------
    uniform : whether activations are uniform, ``mean ± spread``, instead of normal.
    """

    def __init__(self, uniform: bool = False):
        self.uniform = uniform
        self._features: list[_Node] = []
        self._gates: list[_Node] = []
        self._directions: list[Tensor] = []
        self._charts: list[int] = []

    def gate(self, chance: float, rule: Rule, mean: float = 1.0, spread: float = 0.0) -> int:
        """A root that writes nothing and whose children fire by `rule`; its number.

        Numbers of gates are negative; -1 stays free for roots.
        """
        self._gates.append(_Node(-1, chance, rule, mean, spread, 0.0))
        return -1 - len(self._gates)

    def feature(
        self, direction: Float[Tensor, "width"], parent: int, chance: float, rule: Rule,
        mean: float, spread: float, gain: float = 0.0, chart: int = -1,
    ) -> int:  # fmt: skip
        """A feature under `parent` (a feature, a gate or -1), its children by `rule`; its number."""
        self._features.append(_Node(parent, chance, rule, mean, spread, gain))
        self._directions.append(direction)
        self._charts.append(chart)
        return len(self._features) - 1

    def law(self) -> Law:
        """What has been gathered, features first."""
        count = len(self._features)
        parents, chance, rules, *sizes = zip(*self._features, *self._gates, strict=True)
        mean, spread, gain = (torch.tensor(size, dtype=torch.float32) for size in sizes)
        return Law(
            features=count,
            # Gate number -2 comes first behind the features.
            parents=torch.tensor([p if p >= -1 else count - 2 - p for p in parents]),
            chance=torch.tensor(chance, dtype=torch.float64),
            rules=torch.tensor(rules),
            mean=mean,
            spread=spread,
            gain=gain,
            factor=torch.zeros(len(chance), 0),
            uniform=self.uniform,
        )

    def world(self, name: str, noise: float = 0.0) -> World:
        """The world of these features, without a bias."""
        law, directions = self.law(), torch.stack(self._directions)
        features = described(name, law, directions, torch.tensor(self._charts))
        return World(features, law, torch.zeros(directions.shape[1]), noise)


def described(name: str, law: Law, directions: Tensor, charts: Tensor) -> Features:
    """`Features` of a law: gates left out of the ancestry."""
    count = law.features
    parents = law.parents[:count].clone()
    while (gated := parents >= count).any():
        parents[gated] = law.parents[parents[gated]]
    levels = torch.zeros_like(parents)
    above = parents.clone()
    while (below := above >= 0).any():
        levels += below
        above = torch.where(below, parents[above.clamp(min=0)], -1)
    return Features(name, directions, parents, levels, rates(law)[:count].float(), charts)
