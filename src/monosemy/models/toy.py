"""Toy models that keep more features than they have dimensions, many instances in one forward.

Every parameter has the instance as its first axis: instances know nothing of each other, and one
matrix product serves all of them.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import nn

from monosemy.foundation.errors import nearest, refuse
from monosemy.tensors.axes import Float, Tensor

ACTIVATIONS = ("relu", "linear")

Batch = Float[Tensor, "instance sample feature"]


class Toy(nn.Module, ABC):
    """Instances of one toy: what it gives for what it is given, and what it should have given."""

    @abstractmethod
    def forward(self, x: Batch) -> Batch:
        """Every instance's answer to its own samples."""

    def target(self, x: Batch) -> Batch:
        """What the answer should be: `x` itself."""
        return x

    @property
    @abstractmethod
    def weights(self) -> Float[Tensor, "instance hidden feature"]:
        """Columns are the directions in which features are kept."""


class TiedToy(Toy):
    """``x' = f(Wᵀ g(W x) + b)``: features squeezed into a few numbers and read back.

    ``f = ReLU, g = identity`` is the ReLU-output model, ``f = g = identity`` the linear model,
    ``g = ReLU`` gives the hidden layer neurons (a privileged basis); Elhage et al. 2022
    (arXiv:2209.10652).

    Attributes
    ----------
    W : (instance, hidden, feature), first drawn from a normal with variance ``2 / (n + m)``.
    b : (instance, feature), first zero.

    Parameters
    ----------
    instances, features, hidden : how many models, of how many features n, in how many numbers m.
    draw : of the first weights.
    output, middle : f and g, ``relu`` or ``linear``.

    Errors
    ------
    `UserError` for sizes below one and unknown activations.
    """

    def __init__(
        self, instances: int, features: int, hidden: int, draw: torch.Generator,
        output: str = "relu", middle: str = "linear",
    ):  # fmt: skip
        super().__init__()
        _refuse_sizes(instances, features, hidden)
        refuse(
            [
                f"{name} = {given!r}; known: {', '.join(ACTIVATIONS)}{nearest(given, ACTIVATIONS)}"
                for name, given in {"output": output, "middle": middle}.items()
                if given not in ACTIVATIONS
            ],
            "this toy",
        )
        self.output, self.middle = output, middle
        self.W = nn.Parameter(_normal(instances, hidden, features, draw))
        self.b = nn.Parameter(torch.zeros(instances, features))

    @property
    def weights(self) -> Float[Tensor, "instance hidden feature"]:
        """W."""
        return self.W

    def forward(self, x: Batch) -> Batch:
        """``f(Wᵀ g(W x) + b)``."""
        h = x @ self.W.transpose(1, 2)
        h = h.relu() if self.middle == "relu" else h
        y = torch.baddbmm(self.b[:, None], h, self.W)
        return y.relu() if self.output == "relu" else y


class AbsoluteToy(Toy):
    """``y' = ReLU(W_out ReLU(W_in x) + b)``, which should become ``y = |x|``.

    Computation in superposition (Elhage et al. 2022, section 7).

    Attributes
    ----------
    W_in : (instance, hidden, feature).
    W_out : (instance, hidden, feature): row j is what neuron j writes.
    b : (instance, feature).

    Parameters and errors as for `TiedToy`.
    """

    def __init__(self, instances: int, features: int, hidden: int, draw: torch.Generator):
        super().__init__()
        _refuse_sizes(instances, features, hidden)
        self.W_in = nn.Parameter(_normal(instances, hidden, features, draw))
        self.W_out = nn.Parameter(_normal(instances, hidden, features, draw))
        self.b = nn.Parameter(torch.zeros(instances, features))

    @property
    def weights(self) -> Float[Tensor, "instance hidden feature"]:
        """W_in."""
        return self.W_in

    def forward(self, x: Batch) -> Batch:
        """``ReLU(W_out ReLU(W_in x) + b)``."""
        h = (x @ self.W_in.transpose(1, 2)).relu()
        return torch.baddbmm(self.b[:, None], h, self.W_out).relu()

    def target(self, x: Batch) -> Batch:
        """``|x|``."""
        return x.abs()


def _normal(
    instances: int, hidden: int, features: int, draw: torch.Generator
) -> Float[Tensor, "instance hidden feature"]:
    scale = math.sqrt(2 / (hidden + features))
    return torch.randn(instances, hidden, features, generator=draw) * scale


def _refuse_sizes(instances: int, features: int, hidden: int) -> None:
    sizes = {"instances": instances, "features": features, "hidden": hidden}
    refuse(
        [f"{name} = {size}; wanted at least 1" for name, size in sizes.items() if size < 1],
        "this toy",
    )
