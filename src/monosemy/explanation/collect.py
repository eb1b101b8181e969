"""One pass over text for the whole dictionary: density, largest activations, histograms."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from monosemy.data.streams import Source
from monosemy.data.tokens import Contexts
from monosemy.dictionaries.base import Dictionary
from monosemy.explanation.running import RunningHistogram, RunningTop
from monosemy.foundation.errors import UserError
from monosemy.foundation.progress import SILENT, Progress
from monosemy.tensors.axes import Float, Int, Tensor
from monosemy.tensors.codes import SparseCode

# Tokens encoded at once: the dense pre-activations of one batch are the largest thing in memory.
_BATCH = 2048


@dataclass(frozen=True)
class Collected:
    """Where every latent fires, over all kept tokens of some contexts.

    Attributes
    ----------
    contexts : what was read.
    tokens : kept tokens, the denominator of `density`.
    fired : on how many tokens each latent is not zero.
    values : its largest activations, falling, at most one a context; 0 where there are no more.
    rows : the kept-token number of each of `values`; -1 where there are no more.
    counts, ranges : see `RunningHistogram`.
    """

    contexts: Contexts
    tokens: int
    fired: Int[Tensor, "latent"]
    values: Float[Tensor, "latent place"]
    rows: Int[Tensor, "latent place"]
    counts: Int[Tensor, "latent bin"]
    ranges: Float[Tensor, "latent"]

    @property
    def latents(self) -> int:
        """Entries of the dictionary."""
        return len(self.fired)

    @property
    def density(self) -> Float[Tensor, "latent"]:
        """Fraction of tokens on which each latent fires; exact."""
        return self.fired.double() / self.tokens

    @property
    def max_activation(self) -> Float[Tensor, "latent"]:
        """Largest activation of each latent; 0 for one that never fires."""
        return self.values[:, 0]

    @property
    def found(self) -> Int[Tensor, "latent"]:
        """How many places of `values` each latent fills."""
        return (self.rows >= 0).sum(1)

    def histogram(self, latent: int) -> dict[str, list[float] | list[int]]:
        """``{"edges", "counts"}`` of the latent's positive activations, up to its largest.

        One more edge than counts; the counts sum to the tokens it fires on. Empty for a latent
        that never fires.
        """
        counts = self.counts[latent].tolist()
        used = max((place + 1 for place, count in enumerate(counts) if count), default=0)
        step = float(self.ranges[latent]) / len(counts)
        edges = [step * place for place in range(used + 1)] if used else []
        return {"edges": edges, "counts": counts[:used]}


class Collector:
    """Gathers codes batch by batch; `finish` makes the `Collected`.

    Parameters
    ----------
    latents : size of the dictionary.
    contexts : what the codes belong to.
    keep : places for each latent's largest activations.
    """

    def __init__(self, latents: int, contexts: Contexts, keep: int):
        if keep < 1:
            raise UserError(f"keep is {keep} examples a latent; wanted at least 1")
        self.contexts = contexts
        self._context = contexts.kept.nonzero()[:, 0].numpy()
        self._fired = np.zeros(latents, dtype=np.int64)
        self._top = RunningTop(latents, keep)
        self._histogram = RunningHistogram(latents)

    def add(self, code: SparseCode, start: int) -> None:
        """Take in the code of kept tokens `start`, `start` + 1, ...; each token once."""
        rows = code.rows.cpu().numpy() + start
        latents = code.indices.cpu().numpy()
        values = code.values.detach().float().cpu().numpy()
        self._fired += np.bincount(latents[values != 0], minlength=len(self._fired))
        # Signed codes (PCA, neurons) fire below zero too; what a latent shows is its upper side.
        latents, values, rows = (part[values > 0] for part in (latents, values, rows))
        self._top.add(latents, values, rows, self._context[rows])
        self._histogram.add(latents, values)

    def finish(self) -> Collected:
        """What was gathered."""
        arrays = (self._fired, self._top.values, self._top.rows)
        histogram = (self._histogram.counts, self._histogram.ranges)
        tensors = (torch.from_numpy(array.copy()) for array in (*arrays, *histogram))
        return Collected(self.contexts, len(self._context), *tensors)


def collect(
    dictionary: Dictionary, source: Source, keep: int = 48, progress: Progress = SILENT
) -> Collected:
    """Encode every kept token of `source` once and keep what a person wants to know of each latent.

    Parameters
    ----------
    dictionary : what is looked at; it encodes as in evaluation.
    source : the activations, live or from shards.
    keep : largest activations kept for each latent, at most one a context.

    Errors
    ------
    `UserError` where the site's width is not the dictionary's.
    """
    dictionary.check_width(source.width, f"site {source.site}")
    collector = Collector(dictionary.latents, source.contexts, keep)
    with progress.task("collect examples", source.tokens, "tokens") as task, evaluating(dictionary):
        for start in range(0, source.tokens, _BATCH):
            rows = source.rows(start, min(start + _BATCH, source.tokens))
            collector.add(encode(dictionary, rows), start)
            task.advance(len(rows))
    return collector.finish()


@torch.no_grad()
def encode(dictionary: Dictionary, rows: Float[Tensor, "token width"]) -> SparseCode:
    """The code of activations of any precision, on the dictionary's device."""
    return dictionary.code(rows.to(dictionary.b_dec))


@contextmanager
def evaluating(dictionary: Dictionary) -> Iterator[None]:
    """The dictionary in evaluation mode (BatchTopK: its threshold), afterwards as it was."""
    before = dictionary.training
    dictionary.eval()
    try:
        yield
    finally:
        dictionary.train(before)
