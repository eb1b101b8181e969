"""The contexts in which a feature fires most, and the features to look at first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import Any

import torch

from monosemy.data.streams import Source
from monosemy.data.tokens import NOWHERE, Contexts
from monosemy.dictionaries.base import Dictionary
from monosemy.explanation.collect import Collected, encode, evaluating
from monosemy.explanation.words import TokenText
from monosemy.foundation.errors import UserError
from monosemy.foundation.progress import SILENT, Progress
from monosemy.tensors.axes import Int, Tensor

# --- which features ------------------------------------------------------------------------------


def choose_features(
    collected: Collected,
    count: int = 12,
    lowest: float = 1e-4,
    highest: float = 2e-2,
    examples: int = 8,
) -> list[int]:
    """Latents that a person would like to see first; no label and no text is looked at.

    Of the latents with a density from `lowest` to `highest` that fire in `examples` contexts or
    more, and that do not peak at the very beginning of contexts (where text was cut, and the model
    has nothing to go by), ordered by density and cut into `count` bands of equal size, each band
    gives the one whose typical large activation (the median of those kept) is the largest. No two
    may peak at the same token. Where that leaves fewer than `count`, the strongest of the rest
    follow, and then, without these limits, whatever fires. In order of falling density;
    deterministic.

    Parameters
    ----------
    count : how many; fewer come back where fewer latents fire.
    lowest, highest : densities, fraction of tokens.
    examples : contexts in which a latent has to fire, as far as `collected` kept them.
    """
    density = collected.density.tolist()
    found = collected.found.tolist()
    cut = _peaks_at_cuts(collected, examples)
    alive = [latent for latent in range(collected.latents) if found[latent]]
    sensible = [
        i for i in alive if lowest <= density[i] <= highest and found[i] >= examples and not cut[i]
    ]
    sensible.sort(key=lambda i: (density[i], i))
    bounds = [band * len(sensible) // count for band in range(count + 1)]
    choice = _Choice(collected)
    for start, stop in pairwise(bounds):
        choice.take(sensible[start:stop], 1)
    choice.take(sensible, count - len(choice.latents))
    choice.take(alive, count - len(choice.latents))
    return sorted(choice.latents, key=lambda i: (-density[i], i))


def _peaks_at_cuts(collected: Collected, examples: int) -> list[bool]:
    """Whether half of a latent's strongest peaks are on the first kept token of their context."""
    kept = collected.contexts.kept
    first = (kept.cumsum(1) == 1)[kept]
    rows = collected.rows[:, :examples]
    at_first = first[rows.clamp(min=0)] & (rows >= 0)
    return (2 * at_first.sum(1) >= (rows >= 0).sum(1).clamp(min=1)).tolist()


class _Choice:
    """Latents taken so far, no two with the same peak token."""

    def __init__(self, collected: Collected):
        self.latents: list[int] = []
        self._tokens: set[int] = set()
        self._collected = collected
        self._ids = collected.contexts.ids[collected.contexts.kept]
        middle = (collected.found.clamp(min=1) - 1) // 2
        self._strength = collected.values.gather(1, middle[:, None])[:, 0].tolist()

    def take(self, latents: Sequence[int], count: int) -> None:
        """The strongest `count` of `latents` with new peak tokens, or as many as there are."""
        for latent in sorted(latents, key=lambda i: (-self._strength[i], i)):
            if count <= 0:
                return
            token = self._peak_token(latent)
            if latent not in self.latents and token not in self._tokens:
                self.latents.append(latent)
                self._tokens.add(token)
                count -= 1

    def _peak_token(self, latent: int) -> int:
        """The token at most of its peaks; of equals, the one at the strongest."""
        rows = self._collected.rows[latent]
        return Counter(self._ids[rows[rows >= 0]].tolist()).most_common(1)[0][0]


# --- what they look like -------------------------------------------------------------------------


@dataclass(frozen=True)
class Example:
    """A piece of one document, and how strongly one feature fires on each of its tokens.

    Attributes
    ----------
    document : its name.
    offset : the character of the document at which the piece begins, as its token reports it.
    tokens : the text of each token.
    activations : the feature's activation on each token; 0 where it does not fire.
    """

    document: str
    offset: int
    tokens: tuple[str, ...]
    activations: tuple[float, ...]


@dataclass(frozen=True)
class _Window:
    """Positions `start` to `stop` of a context, around a peak."""

    latent: int
    context: int
    start: int
    stop: int


def examples(
    collected: Collected,
    dictionary: Dictionary,
    source: Source,
    tokenizer: Any,
    latents: Sequence[int],
    count: int = 6,
    radius: int = 14,
    progress: Progress = SILENT,
) -> dict[int, list[Example]]:
    """The `count` strongest examples of each of `latents`, strongest first.

    An example is the peak and up to `radius` tokens on either side, inside its context and its
    document. Peaks less than a context apart in one document count as one, and a piece that
    repeats the tokens of an earlier one is left out. The contexts are read again, so that every
    token of a piece has its activation, not only the peak.

    Parameters
    ----------
    collected : from the same dictionary and the same source.

    Errors
    ------
    `UserError` where `source` does not hold what was collected.
    """
    contexts = source.contexts
    if contexts.fingerprint != collected.contexts.fingerprint:
        raise UserError(
            "these examples were collected from other contexts than the ones given; "
            "give the source that collect() read"
        )
    places = contexts.kept.flatten().nonzero().flatten()
    windows = [
        window
        for latent in latents
        for window in islice(_windows(collected, places, latent, radius), count)
    ]
    before = contexts.kept.flatten().cumsum(0) - contexts.kept.flatten().long()
    text = TokenText(tokenizer)
    found: dict[int, list[Example]] = {latent: [] for latent in latents}
    order = sorted(range(len(windows)), key=lambda i: windows[i].context)
    made: dict[int, Example] = {}
    with progress.task("read examples", len(windows), "examples") as task, evaluating(dictionary):
        for i in order:  # a live source computes neighbouring contexts together
            activations = _activations(dictionary, source, before, windows[i])
            made[i] = _example(contexts, windows[i], activations, text)
            task.advance()
    for i, window in enumerate(windows):
        found[window.latent].append(made[i])
    return found


def _windows(
    collected: Collected, places: Int[Tensor, "token"], latent: int, radius: int
) -> Iterator[_Window]:
    """Pieces around the latent's peaks, strongest first, without neighbours and repetitions."""
    contexts = collected.contexts
    peaks: list[tuple[int, int]] = []  # (document, place in the joined text)
    seen: set[tuple[int, ...]] = set()
    rows = collected.rows[latent]
    for place in places[rows[rows >= 0]].tolist():
        context, position = divmod(place, contexts.length)
        document = int(contexts.document[context, position])
        window = _around(contexts, latent, context, position, radius)
        ids = tuple(contexts.ids[context, window.start : window.stop].tolist())
        near = any(d == document and abs(p - place) < contexts.length for d, p in peaks)
        if not near and ids not in seen:
            yield window
            peaks.append((document, place))
            seen.add(ids)


def _around(contexts: Contexts, latent: int, context: int, position: int, radius: int) -> _Window:
    """The tokens near `position` that belong to its document and stand for text (or are kept)."""
    document = contexts.document[context]
    real = (contexts.offset[context] != NOWHERE) | contexts.kept[context]
    inside = (real & (document == document[position])).tolist()
    start = stop = position
    while start > max(0, position - radius) and inside[start - 1]:
        start -= 1
    while stop < min(contexts.length, position + radius + 1) and inside[stop]:
        stop += 1
    return _Window(latent, context, start, stop)


def _activations(
    dictionary: Dictionary, source: Source, before: Int[Tensor, "place"], window: _Window
) -> list[float]:
    """Activations of the window's latent on its tokens; 0 on tokens that are not kept.

    `before` counts the kept tokens before each place of the joined contexts.
    """
    contexts = source.contexts
    kept = contexts.kept[window.context, window.start : window.stop]
    first = int(before[window.context * contexts.length + window.start])
    code = encode(dictionary, source.rows(first, first + int(kept.sum())))
    full = torch.zeros(len(kept), dtype=torch.float32)
    full[kept] = code.dense()[:, window.latent].float().cpu()
    return full.tolist()


def _example(
    contexts: Contexts, window: _Window, activations: list[float], text: TokenText
) -> Example:
    chosen = slice(window.start, window.stop)
    ids = contexts.ids[window.context, chosen].tolist()
    offsets = contexts.offset[window.context, chosen].tolist()
    document = contexts.documents[int(contexts.document[window.context, window.start])]
    offset = next((offset for offset in offsets if offset != NOWHERE), 0)
    return Example(document, offset, tuple(text(i) for i in ids), tuple(activations))
