"""WorldSource: a world's samples as a source of activations, drawn when they are asked for."""

from __future__ import annotations

from functools import cached_property

import torch

from monosemy.data.features.drawing import route_for
from monosemy.data.features.truth import Samples
from monosemy.data.features.world import World
from monosemy.data.tokens import Contexts
from monosemy.foundation.errors import refuse
from monosemy.tensors.axes import Float, Tensor
from monosemy.tensors.codes import SparseCode
from monosemy.tensors.compute import Compute

# Rows that are drawn together: what a stream reads at a time.
CHUNK = 2048


class WorldSource:
    """Samples of a world, numbered. A `streams.Source`.

    Rows are drawn in chunks. Chunk ``n`` is a function of the world, the seed and ``n``, so any rows
    can be drawn again, in any order, and a longer source begins with the rows of a shorter one.

    Parameters
    ----------
    world : what is drawn from.
    tokens : how many rows there are.
    compute : its seed fixes the rows. They are drawn on its device if that is CUDA, on the processor
        otherwise; the law is the same on both, the draws are not.

    Errors
    ------
    `UserError` for a number of rows below one.
    """

    waits_for = "input"
    dtype = torch.float32

    def __init__(self, world: World, tokens: int, compute: Compute):
        refuse([f"{tokens:,} rows: wanted at least 1"] if tokens < 1 else [], "this source")
        self.world = world
        self.tokens = tokens
        self.compute = compute
        self.site = world.features.name
        self.width = world.features.width
        self._held: tuple[int, Samples] | None = None  # the chunk drawn last

    @cached_property
    def fingerprint(self) -> str:
        """Equal for two sources exactly where their rows are."""
        device = torch.device("cuda" if self._on_cuda else "cpu")
        route = f"{route_for(device)} on {device}"
        return f"{self.world.fingerprint}/{self.compute.seed}/{self.tokens}/{CHUNK}/{route}"

    @property
    def _on_cuda(self) -> bool:
        return torch.device(self.compute.device).type == "cuda"

    @property
    def contexts(self) -> Contexts:
        """One context of tokens that mean nothing: no text stands behind these rows."""
        ids = torch.zeros(1, 1, dtype=torch.int64).expand(1, self.tokens)
        kept = torch.ones(1, 1, dtype=torch.bool).expand(1, self.tokens)
        return Contexts(ids, ids, ids, kept, (self.site,))

    def rows(self, start: int, stop: int) -> Float[Tensor, "token width"]:
        """Activations of rows `start` to `stop`."""
        parts = [self._chunk(n).x[a:b] for n, a, b in _pieces(start, stop)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def samples(self, start: int, stop: int) -> Samples:
        """Rows `start` to `stop`, with the features that made them."""
        pieces = [(self._chunk(n), a, b) for n, a, b in _pieces(start, stop)]
        truths = [chunk.truth[a:b] for chunk, a, b in pieces]
        return Samples(torch.cat([chunk.x[a:b] for chunk, a, b in pieces]), _joined(truths))

    def _chunk(self, number: int) -> Samples:
        if self._held is None or self._held[0] != number:
            draw = self.compute.generator(f"world chunk/{number}")
            if self._on_cuda:
                moved = torch.Generator(self.compute.device)
                draw = moved.manual_seed(draw.initial_seed())
            self._held = (number, self.world.sample(CHUNK, draw))
        return self._held[1]


def _pieces(start: int, stop: int) -> list[tuple[int, int, int]]:
    """The chunks that rows `start` to `stop` lie in, and the rows of each that are wanted."""
    numbers = range(start // CHUNK, max(start // CHUNK + 1, -(-stop // CHUNK)))
    return [
        (n, max(start - n * CHUNK, 0), max(min(stop - n * CHUNK, CHUNK), start - n * CHUNK, 0))
        for n in numbers
    ]


def _joined(parts: list[SparseCode]) -> SparseCode:
    """One code after the other."""
    counts = torch.cat([part.counts for part in parts])
    offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    indices = torch.cat([part.indices for part in parts])
    values = torch.cat([part.values for part in parts])
    return SparseCode(offsets, indices, values, parts[0].latents)
