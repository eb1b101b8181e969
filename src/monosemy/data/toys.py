"""What toy models are given: sparse features, alone, in sets that fire together, or one of a set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from monosemy.foundation.clock import Clock
from monosemy.foundation.errors import UserError, nearest, refuse
from monosemy.tensors.axes import Float, Int, Tensor
from monosemy.tensors.compute import Compute

TOGETHER, ONE_OF, APART = "together", "one of", "independent"
COMPANIES = (APART, TOGETHER, ONE_OF)

Batch = Float[Tensor, "instance sample feature"]


@dataclass(frozen=True, eq=False)
class SparseFeatures:
    """Features that are 0 but for a share of samples, their density, and else uniform.

    Of `company`, ``independent`` features fire on their own; ``together`` all features of a set
    fire or none does, each with a size of its own; ``one of`` a set fires at most one. A feature's
    own density is the same in all three, so that they compare.

    Attributes
    ----------
    density : (instance, feature), above 0 and at most 1; the paper's ``1 - S``.
    company : see above.
    set_size : features in a set; sets are neighbours.
    signed : sizes are uniform on [-1, 1] and not on [0, 1].

    Errors
    ------
    `UserError` for densities out of range, an unknown company, features that sets do not divide, and
    sets of which one member would have to fire more than always.
    """

    density: Float[Tensor, "instance feature"]
    company: str = APART
    set_size: int = 1
    signed: bool = False

    def __post_init__(self) -> None:
        low, high = float(self.density.min()), float(self.density.max())
        features = self.density.shape[1]
        reasons = []
        if not 0 < low <= high <= 1:
            reasons.append(f"densities from {low:g} to {high:g}; wanted above 0 and at most 1")
        if self.company not in COMPANIES:
            known = f"known: {', '.join(COMPANIES)}{nearest(self.company, COMPANIES)}"
            reasons.append(f"company {self.company!r}; {known}")
        if self.set_size < 1 or features % self.set_size:
            reasons.append(f"{features} features do not divide into sets of {self.set_size}")
        if self.company == ONE_OF and high * self.set_size > 1:
            reasons.append(
                f"one of {self.set_size} features, each with density {high:g}, would fire more than "
                f"always; wanted a density of at most {1 / self.set_size:g}"
            )
        refuse(reasons, "these sparse features")

    def draw(self, samples: int, generator: torch.Generator) -> Batch:
        """So many samples for each instance.

        Instances share their random numbers and differ by density: feature i is ``1 - u / density``
        where the uniform ``u`` is below the density, which is uniform on [0, 1], and else 0.
        """
        sizes = self._sizes(samples, generator)
        if self.signed:
            sign = torch.randint(0, 2, sizes.shape[1:], generator=generator) * 2 - 1
            sizes = sizes * sign
        return sizes

    def _sizes(self, samples: int, generator: torch.Generator) -> Batch:
        features = self.density.shape[1]
        density = self.density[:, None]
        if self.company == APART:
            u = torch.rand(samples, features, generator=generator)
            return torch.addcmul(torch.ones(()), u, density.reciprocal(), value=-1).clamp_(min=0)
        sets = features // self.set_size
        gate = torch.rand(samples, sets, generator=generator)
        value = torch.rand(samples, features, generator=generator)
        gate = gate.repeat_interleave(self.set_size, 1)
        if self.company == TOGETHER:
            return value * (gate < density)
        # The set's uniform number also says whose turn it is: the members' shares lie side by side.
        member = torch.arange(features) % self.set_size
        return value * ((gate >= member * density) & (gate < (member + 1) * density))


def densities(
    values: Sequence[float], features: int, fits: int = 1
) -> Float[Tensor, "instance feature"]:
    """One row for each instance: every density `fits` times, all features alike."""
    rows = torch.tensor(values, dtype=torch.float32).repeat_interleave(fits)
    return rows[:, None].repeat(1, features)


@dataclass(frozen=True, eq=False)
class EveryCase:
    """Few independent features written out: whoever fires, at the nodes of a Gauss-Legendre rule.

    An expectation over samples is then a weighted sum without noise; smooth parts of it are exact,
    kinks (of a ReLU) cost about a thousandth with 12 nodes.

    Attributes
    ----------
    x : the points.
    fired : how many features are not 0 at each.
    share : of a point, within its case of who fires.
    """

    x: Float[Tensor, "sample feature"]
    fired: Int[Tensor, "sample"]
    share: Float[Tensor, "sample"]

    @classmethod
    def of(cls, features: int, nodes: int = 12) -> EveryCase:
        """Every case of so many features: ``(1 + nodes) ** features`` points."""
        at, weight = np.polynomial.legendre.leggauss(nodes)
        value = torch.tensor([0.0, *((at + 1) / 2)], dtype=torch.float32)
        share = torch.tensor([1.0, *(weight / 2)], dtype=torch.float32)
        grid = torch.cartesian_prod(*[torch.arange(nodes + 1)] * features).view(-1, features)
        return cls(value[grid], (grid > 0).sum(1), share[grid].prod(1))

    def weights(self, density: Float[Tensor, "instance"]) -> Float[Tensor, "instance sample"]:
        """Of each point in the expectation, at each density; they sum to one."""
        rest = self.x.shape[1] - self.fired
        return self.share * density[:, None] ** self.fired * (1 - density[:, None]) ** rest


class ToyStream:
    """Batches of sparse features; number ``n`` is a function of the seed and ``n`` alone.

    Parameters
    ----------
    law : what is drawn.
    samples : for each instance, in a batch.
    compute : its seed fixes every batch; batches are moved to its device.

    Errors
    ------
    `UserError` for fewer than one sample.
    """

    def __init__(self, law: SparseFeatures, samples: int, compute: Compute):
        if samples < 1:
            raise UserError(f"batch of {samples} samples: wanted at least 1")
        self.law = law
        self.samples = samples
        self.compute = compute
        self._clock = Clock()
        self._drawn = 0

    def __iter__(self) -> Iterator[Batch]:
        return self

    @property
    def seconds(self) -> dict[str, float]:
        """Wall time that drawing has taken, as ``input``."""
        return dict(self._clock.seconds)

    def __next__(self) -> Batch:
        with self._clock.counting("input"):
            generator = self.compute.generator(f"toy batch {self._drawn}")
            self._drawn += 1
            return self.law.draw(self.samples, generator).to(self.compute.device)

    def state_dict(self) -> dict[str, Any]:
        """How many batches were drawn."""
        return {"drawn": self._drawn}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to where a stream stood."""
        self._drawn = int(state["drawn"])
