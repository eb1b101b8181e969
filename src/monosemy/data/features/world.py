"""World: known features, the law by which they fire, and what is added to their sum."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

import torch

from monosemy.data.features.checks import unfit
from monosemy.data.features.drawing import draw
from monosemy.data.features.law import Law
from monosemy.data.features.truth import Features, Samples
from monosemy.foundation.errors import refuse
from monosemy.tensors.axes import Float, Tensor
from monosemy.tensors.codes import SparseCode
from monosemy.tensors.routes import kernels_for
from monosemy.tensors.workers import undisturbed


@dataclass(frozen=True, eq=False)
class World:
    """Samples without end, each with the features that made it.

        x = sum over active features of a · direction  +  bias  +  noise · n,   n ~ N(0, 1)

    Attributes
    ----------
    features : what there is to find.
    law : which features fire together, and how strongly.
    bias : added to every sample.
    noise : standard deviation of what is added to every coordinate.

    Errors
    ------
    `UserError` with all reasons, where the law cannot be or does not fit the features.
    """

    features: Features
    law: Law
    bias: Float[Tensor, "width"]
    noise: float = 0.0

    def __post_init__(self) -> None:
        reasons = unfit(self.law)
        if self.law.features != self.features.count:
            reasons.append(
                f"the law has {self.law.features:,} features and {self.features.count:,} are described"
            )
        refuse(reasons, f"the world {self.features.name!r}")

    def sample(self, count: int, generator: torch.Generator) -> Samples:
        """`count` samples, on the generator's device; a function of its state alone."""
        refuse([f"{count:,} samples: wanted 0 or more"] if count < 0 else [], "this draw")
        with undisturbed():
            truth = draw(self.law, count, generator)
            return Samples(self._written(truth, generator), truth)

    def activations(self, count: int, generator: torch.Generator) -> Float[Tensor, "token width"]:
        """The `x` of `sample`, bit for bit."""
        return self.sample(count, generator).x

    @cached_property
    def fingerprint(self) -> str:
        """Equal for two worlds exactly where everything about them is, but their names."""
        digest = sha256(f"{self.law.fingerprint} {self.noise!r}".encode())
        for tensor in (self.features.directions, self.bias):
            digest.update(tensor.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def _written(self, truth: SparseCode, generator: torch.Generator) -> Tensor:
        directions, bias = self._on(str(generator.device))
        # The sparse product even where a dense one is faster: its sums do not depend on threads.
        x = kernels_for(directions).product(truth, directions).add_(bias)
        if self.noise:
            noise = torch.randn(x.shape, generator=generator, device=generator.device)
            x = x.add_(noise, alpha=self.noise)
        return x

    def _on(self, device: str) -> tuple[Tensor, Tensor]:
        """Directions and bias on `device`, moved there once."""
        if device not in self._moved:
            self._moved[device] = (self.features.directions.to(device), self.bias.to(device))
        return self._moved[device]

    @cached_property
    def _moved(self) -> dict[str, tuple[Tensor, Tensor]]:
        return {}
