"""What parents leave over while they are active, on two halves of the samples with none in common."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from monosemy.data.streams import Source
from monosemy.dictionaries.base import Dictionary
from monosemy.dictionaries.hierarchical import HierarchicalDictionary
from monosemy.dictionaries.local import LocalDictionary
from monosemy.foundation.errors import UserError
from monosemy.foundation.progress import SILENT, Progress
from monosemy.tensors.axes import Activations, Float, Int, Tensor
from monosemy.tensors.codes import SparseCode
from monosemy.training.charts import Bank

# Rows that are read at a time.
PIECE = 2048
# Pieces, spread over all rows, that say who is active how often.
_SURVEYED = 16
# Stretches of rows that belong to one half and the other in turns: long beside a document, and enough
# of them that both halves are of all parts of the text.
_STRETCHES = 16
# An activation below this quantile of all counts as much as it: a parent that is hardly there says
# little about what comes with it.
_SMALL = 0.1


def parents_alone(dictionary: Dictionary) -> Dictionary:
    """The same parents without their children: what a child is to be must not say what is left over.

    Children that learned to stand for other parents would take these out of what is left over. A
    local dictionary goes on explaining with its parents only; a hierarchical one is its trunk; of any
    other, every latent is a parent.
    """
    if isinstance(dictionary, LocalDictionary):
        first = dictionary.levels[0]
        nowhere = torch.full_like(first.routes, -1)
        V, C = first.V.detach(), first.C.detach()
        steered = first.rounds, float(first.floor), float(first.least)
        return LocalDictionary(first.trunk, V, nowhere, C, *steered).eval()
    return dictionary.trunk if isinstance(dictionary, HierarchicalDictionary) else dictionary


@torch.no_grad()
def left_over(dictionary: Dictionary, x: Activations) -> tuple[SparseCode, Activations]:
    """Active parents, in units of rows of length one, and ``x - x̂``."""
    code = dictionary.code(x)
    lengths = dictionary.W_dec.norm(dim=1)
    return code.with_values(code.values * lengths[code.indices]), x - dictionary.decode(code, x)


@dataclass(frozen=True, eq=False)
class Survey:
    """Which parents are active, how often, how much.

    Attributes
    ----------
    counts : tokens on which each is active, of the surveyed ones.
    energy : sum of its squared activations.
    least : what smaller activations are taken for.
    tokens : how many were surveyed.
    """

    counts: Int[Tensor, "bearer"]
    energy: Float[Tensor, "bearer"]
    least: float
    tokens: int

    def most(self, count: int) -> Int[Tensor, "chosen"]:
        """Those of most energy, by number; none that is silent."""
        chosen = self.energy.topk(min(count, len(self.energy))).indices
        return chosen[self.energy[chosen] > 0].sort().values


def survey(dictionary: Dictionary, source: Source) -> Survey:
    """A look at rows that are spread over all of `source`."""
    starts = torch.linspace(0, max(source.tokens - PIECE, 0), _SURVEYED).long().unique().tolist()
    bearers = parents_of(dictionary)
    counts, energy = torch.zeros(bearers, dtype=torch.int64), torch.zeros(bearers)
    values, tokens = list[Tensor](), 0
    for start in starts:
        x = _read(dictionary, source, start, min(start + PIECE, source.tokens))
        code = left_over(dictionary, x)[0].to("cpu")
        code = code.keep(code.values > 0)
        counts += torch.bincount(code.indices, minlength=bearers)
        energy.index_add_(0, code.indices, code.values.float().square())
        values.append(code.values)
        tokens += len(x)
    every = torch.cat(values)
    least = float(every.quantile(_SMALL)) if 0 < len(every) < 1 << 24 else 0.0
    return Survey(counts, energy, least, tokens)


def gather(
    dictionary: Dictionary, source: Source, surveyed: Survey, chosen: Int[Tensor, "chosen"],
    samples: int, generator: torch.Generator, progress: Progress = SILENT,
) -> tuple[Bank, Bank]:  # fmt: skip
    """Residuals of the `chosen` parents, relative to their activations, `samples` a parent and half.

    Halves take stretches of rows in turns, so that tokens of one document are rarely in both. Of
    frequent parents a part is drawn, spread over all rows; energies are those of the survey.
    """
    width, like = source.width, torch.zeros(0)
    banks = Bank(len(chosen), samples, width, like), Bank(len(chosen), samples, width, like)
    places = torch.full((parents_of(dictionary),), -1)
    places[chosen] = torch.arange(len(chosen))
    # Half of what is expected: there are two halves.
    expected = surveyed.counts[chosen].float() * source.tokens / surveyed.tokens / 2
    shares = (samples / expected.clamp_min(1)).clamp_max(1)
    with progress.task("residuals", source.tokens, "tokens") as task:
        for start, stop, half in _pieces(source.tokens):
            code, rest = left_over(dictionary, _read(dictionary, source, start, stop))
            entries = places[code.indices.cpu()]
            drawn = torch.rand(len(entries), generator=generator) < shares[entries.clamp_min(0)]
            kept = (entries >= 0) & drawn & (code.values.cpu() > 0)
            there = kept.to(rest.device)
            sizes = code.values[there].clamp_min(surveyed.least).float().cpu()
            banks[half].add(entries[kept], rest[code.rows[there]].float().cpu(), sizes)
            task.advance(stop - start)
    for bank in banks:
        bank.energy = surveyed.energy[chosen]
    return banks


def _pieces(tokens: int) -> Iterator[tuple[int, int, int]]:
    """Start, stop and half of pieces that lie inside one stretch each."""
    stretch = max(-(-tokens // _STRETCHES), 1)
    for number, first in enumerate(range(0, tokens, stretch)):
        last = min(first + stretch, tokens)
        for start in range(first, last, PIECE):
            yield start, min(start + PIECE, last), number % 2


def parents_of(dictionary: Dictionary) -> int:
    """How many latents are no children."""
    if isinstance(dictionary, LocalDictionary):
        return dictionary.parents.latents
    return parents_alone(dictionary).latents


def check_autoencodes(dictionary: Dictionary) -> None:
    """Refuse what writes another place than it reads: it leaves nothing over of what it reads."""
    if not dictionary.autoencodes:
        raise UserError(
            "this dictionary writes another place than it reads, so its latents leave nothing over of "
            "what they read; wanted an autoencoder"
        )


def _read(dictionary: Dictionary, source: Source, start: int, stop: int) -> Activations:
    return source.rows(start, stop).to(dictionary.b_dec)
