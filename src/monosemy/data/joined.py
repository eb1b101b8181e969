"""Activations of several places side by side, over the same tokens."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import torch

from monosemy.data.capture import LiveSource, Reader, site_fingerprints
from monosemy.data.shards import open_shards
from monosemy.data.streams import Source
from monosemy.data.tokens import Contexts
from monosemy.foundation.errors import UserError, refuse
from monosemy.models.loading import LoadedModel
from monosemy.models.sites import Site, resolve
from monosemy.tensors.axes import Float, Tensor


class LiveSites:
    """The rows of several sites of one model, all from one forward pass. A `streams.Source`.

    Takes what `capture.Reader` takes, and refuses what it refuses.

    Attributes
    ----------
    widths : numbers in a row of each site, in order.
    fingerprints : of the rows of each site, as a source of that site alone would have them.
    """

    waits_for = "model"

    def __init__(
        self,
        loaded: LoadedModel,
        sites: Sequence[Site],
        contexts: Contexts,
        group: int | None = None,
        dtype: str | None = None,
    ):
        self._reader = Reader(loaded, sites, contexts, group, dtype)
        self._names = [site.name for site in sites]
        self.contexts = contexts
        self.site = ", ".join(self._names)
        self.tokens = contexts.tokens
        self.widths = tuple(site.width for site in sites)
        self.width = sum(self.widths)
        self.dtype = self._reader.dtype
        known = site_fingerprints(self._reader)
        self.fingerprints = tuple(known[name] for name in self._names)
        self.fingerprint = _of_all(self.fingerprints)

    def rows(self, start: int, stop: int) -> Float[Tensor, "token width"]:
        """Activations of kept tokens `start` to `stop`, the sites side by side."""
        read = self._reader.rows(start, stop)
        return torch.cat([read[name] for name in self._names], dim=1)


class JoinedSource:
    """Rows of several sources of the same contexts, side by side. A `streams.Source`.

    Parameters
    ----------
    sources : sites of one folder of shards, or the same sites of several models.

    Attributes
    ----------
    widths : numbers in a row of each site of each source, in order.

    Errors
    ------
    `UserError` where sources are over other contexts or in another precision than the first, all
    that differ at once, and for no source at all.
    """

    def __init__(self, sources: Sequence[Source]):
        refuse(_unlike(sources), "these activations side by side")
        self.sources = tuple(sources)
        first = self.sources[0]
        self.contexts = first.contexts
        self.site = ", ".join(source.site for source in sources)
        self.tokens = first.tokens
        self.widths = tuple(width for source in sources for width in _widths(source))
        self.width = sum(self.widths)
        self.dtype = first.dtype
        self.fingerprint = _of_all([one for source in sources for one in _fingerprints(source)])
        self.waits_for = "model" if any(s.waits_for == "model" for s in sources) else "input"

    def rows(self, start: int, stop: int) -> Float[Tensor, "token width"]:
        """Activations of kept tokens `start` to `stop`, source beside source."""
        return torch.cat([source.rows(start, stop) for source in self.sources], dim=1)


def open_live(models: Sequence[LoadedModel], sites: Sequence[Site], contexts: Contexts) -> Source:
    """Activations at `sites` of every model, computed as they are asked for.

    The sites of a model come from one forward pass; models follow each other. The width of each
    column is in ``widths`` where there are several.

    Parameters
    ----------
    models : one, or several that read the same tokens.
    sites : of the first model; in the others the sites of these names.
    contexts : what all of them read.

    Errors
    ------
    `UserError` for names that another model does not have, all of them at once, and for what
    `capture.Reader` refuses.
    """
    reasons: list[str] = []
    places = [tuple(sites), *(_named(loaded, sites, reasons) for loaded in models[1:])]
    refuse(reasons, "comparing these models")
    if len(models) == len(sites) == 1:
        return LiveSource(models[0], sites[0], contexts)
    parts = [LiveSites(one, at, contexts) for one, at in zip(models, places, strict=True)]
    return parts[0] if len(parts) == 1 else JoinedSource(parts)


def join_shards(folder: str | Path, sites: Sequence[str]) -> JoinedSource:
    """Several sites of one folder of shards; see `shards.open_shards` for what is refused."""
    return JoinedSource([open_shards(folder, site) for site in sites])


def _named(loaded: LoadedModel, sites: Sequence[Site], reasons: list[str]) -> tuple[Site, ...]:
    """The sites of `loaded` that are called so; what is missing is added to `reasons`."""
    found = []
    for site in sites:
        try:
            found.append(resolve(loaded.model, site.name))
        except UserError as error:
            reasons.append(f"{loaded.name}: {error}")
    return tuple(found)


def _unlike(sources: Sequence[Source]) -> list[str]:
    if not sources:
        return ["no source is given; name at least one site"]
    first, reasons = sources[0], []
    for source in sources[1:]:
        if source.dtype != first.dtype:
            reasons.append(
                f"{source.site} is in {source.dtype} and {first.site} in {first.dtype}; "
                "read both in one precision"
            )
        if not _same_contexts(source, first):
            reasons.append(
                f"{source.site} was read from other contexts ({source.tokens:,} tokens) than "
                f"{first.site} ({first.tokens:,}); capture both from the same text"
            )
    return reasons


def _same_contexts(one: Source, other: Source) -> bool:
    # Most often they are the very same, and then the sums over every id can be saved.
    return one.contexts is other.contexts or one.contexts.fingerprint == other.contexts.fingerprint


def _widths(source: Source) -> tuple[int, ...]:
    return source.widths if isinstance(source, LiveSites | JoinedSource) else (source.width,)


def _fingerprints(source: Source) -> tuple[str, ...]:
    return source.fingerprints if isinstance(source, LiveSites) else (source.fingerprint,)


def _of_all(fingerprints: Sequence[str]) -> str:
    """Of rows side by side; of one site alone, its own."""
    if len(fingerprints) == 1:
        return fingerprints[0]
    return hashlib.sha256(json.dumps(list(fingerprints)).encode()).hexdigest()
