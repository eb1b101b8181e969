"""What stands beside the dictionaries of a world: oracle, probes, principal axes, random directions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from monosemy.data.features.source import WorldSource
from monosemy.data.features.truth import Samples
from monosemy.data.features.world import World
from monosemy.evaluation.controls import controls_at
from monosemy.evaluation.probes import fit_probes
from monosemy.evaluation.readers import DictionaryReader, Oracle, Reader
from monosemy.foundation.progress import SILENT, Progress
from monosemy.recipes.setting import START_ROWS
from monosemy.recipes.truth_protocol import Protocol
from monosemy.tensors.compute import Compute

# In large worlds the most frequent features are probed.
PROBES = 1024
_PROBE_BATCH = 1024
_PROBE_STEPS = 2_000


@dataclass(frozen=True, eq=False)
class Around:
    """What an arm is made from: the same samples that dictionaries learn from."""

    world: World
    protocol: Protocol
    compute: Compute
    progress: Progress = SILENT

    @property
    def source(self) -> WorldSource:
        """Samples to learn from."""
        return WorldSource(self.world, max(self.protocol.tokens, START_ROWS), self.compute)

    @property
    def first(self) -> Samples:
        """The first of them: for means, axes and scales."""
        return self.source.samples(0, START_ROWS)


def oracle(around: Around) -> Reader:
    """True directions and true firing of the most frequent features, one a latent."""
    features = around.world.features
    return Oracle.of_most_frequent(features, around.protocol.latents, around.first)


def probe(around: Around) -> Reader:
    """A logistic regression a feature on the activations, told the truth while it learns."""
    count = min(around.protocol.latents, PROBES)
    rates = around.world.features.rates
    told = rates.argsort(descending=True, stable=True)[:count].sort().values
    steps = max(1, min(_PROBE_STEPS, around.protocol.tokens // _PROBE_BATCH))
    batches = _batches(around.source, steps)
    return fit_probes(batches, told, around.first, steps, around.progress)


def pca(around: Around) -> Reader:
    """Principal axes: the largest coordinates of each sample."""
    return _control(around, "pca")


def random(around: Around) -> Reader:
    """Frozen random directions, only their scale fitted: the best matching ones of each sample."""
    return _control(around, "random")


def _control(around: Around, name: str) -> Reader:
    protocol = around.protocol
    found = controls_at(around.first.x, protocol.l0, protocol.latents, around.compute)
    return DictionaryReader(found[name])


def _batches(source: WorldSource, steps: int) -> Iterator[Samples]:
    for step in range(steps):
        yield source.samples(step * _PROBE_BATCH, (step + 1) * _PROBE_BATCH)


def numbers_in(reader: Reader) -> int:
    """How many numbers it holds."""
    if isinstance(reader, DictionaryReader):
        return sum(p.numel() for p in reader.dictionary.parameters())
    held = (value for value in vars(reader).values() if isinstance(value, torch.Tensor))
    floats = sum(value.numel() for value in held if value.is_floating_point())
    return floats + (reader.directions.numel() if isinstance(reader, Oracle) else 0)


ARMS: dict[str, Callable[[Around], Reader]] = {
    "oracle": oracle,
    "probe": probe,
    "pca": pca,
    "random": random,
}
"""By name; what each is says its docstring."""
