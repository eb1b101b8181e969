"""Where dictionaries read and write: one site, several, or the same sites of several models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from monosemy.dictionaries.base import Dictionary
from monosemy.foundation.errors import UserError
from monosemy.interventions import contrast
from monosemy.models import tap
from monosemy.models.loading import LoadedModel
from monosemy.models.sites import Site, resolve
from monosemy.tensors.axes import Bool, Float, Int, Tensor

Seen = Sequence[Mapping[str, Float[Tensor, "context position _"]]]
"""Activations by site name, for each model."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Activations of some tokens: where dictionaries read, and where they write."""

    read: Float[Tensor, "token read"]
    written: Float[Tensor, "token written"]

    def given(self, dictionary: Dictionary) -> Float[Tensor, "token _"]:
        """What `dictionary` sees: where it writes, if it reconstructs what it reads."""
        return self.written if dictionary.autoencodes else self.read


@dataclass(frozen=True, eq=False)
class Place:
    """What is read lies side by side, and so does what is written: site after site, model by model.

    Attributes
    ----------
    models : one, or several that read the same tokens.
    reads, writes : sites of each model, by their names in the first.
    """

    models: tuple[LoadedModel, ...]
    reads: tuple[tuple[Site, ...], ...]
    writes: tuple[tuple[Site, ...], ...]

    @classmethod
    def of(
        cls,
        models: LoadedModel | Sequence[LoadedModel],
        writes: Site | Sequence[Site],
        reads: Site | Sequence[Site] | None = None,
    ) -> Place:
        """Sites of the first model, looked up by name in the others; `reads` where they differ.

        Errors
        ------
        `UserError` for a name that a model does not have.
        """
        given = (models,) if isinstance(models, LoadedModel) else tuple(models)
        there = _several(writes)
        here = there if reads is None else _several(reads)
        return cls(given, _in_each(given, here), _in_each(given, there))

    @property
    def loaded(self) -> LoadedModel:
        """The model that is studied: the first."""
        return self.models[0]

    @property
    def sites(self) -> tuple[tuple[Site, ...], ...]:
        """All sites of each model, each once."""
        pairs = zip(self.reads, self.writes, strict=True)
        return tuple(tuple(dict.fromkeys((*here, *there))) for here, there in pairs)

    @property
    def widths(self) -> tuple[int, ...]:
        """Numbers in each part that is written."""
        return tuple(site.width for sites in self.writes for site in sites)

    @property
    def names(self) -> tuple[str, ...]:
        """What each part that is written is called."""
        several = len(self.models) > 1
        return tuple(
            f"{loaded.name}: {site.name}" if several else site.name
            for loaded, sites in zip(self.models, self.writes, strict=True)
            for site in sites
        )

    @property
    def read_width(self) -> int:
        """Numbers that are read."""
        return sum(site.width for sites in self.reads for site in sites)

    @property
    def written_width(self) -> int:
        """Numbers that are written."""
        return sum(self.widths)

    def read(
        self, ids: Int[Tensor, "context position"], mask: Int[Tensor, "context position"] | None
    ) -> Seen:
        """Activations at all sites, without logits."""
        pairs = zip(self.models, self.sites, strict=True)
        return [tap.read(loaded.model, sites, ids, mask) for loaded, sites in pairs]

    def run(
        self, ids: Int[Tensor, "context position"], mask: Int[Tensor, "context position"] | None
    ) -> contrast.CleanRun:
        """The clean run of the only model, which reads all sites."""
        return contrast.run_clean(self.loaded.model, self.sites[0], ids, mask)

    def rows(self, seen: Seen, kept: Bool[Tensor, "context position"]) -> Rows:
        """The activations of kept tokens, side by side."""
        there = _beside(seen, self.writes, kept)
        same = self.reads == self.writes
        return Rows(there if same else _beside(seen, self.reads, kept), there)

    def by_site(self, written: Float[Tensor, "*rows written"]) -> dict[Site, Tensor]:
        """What is written at each site of the only model."""
        columns = written.split(self.widths, dim=-1)
        return dict(zip(self.writes[0], columns, strict=True))

    def misfits(self, name: str, dictionary: Dictionary) -> list[str]:
        """Why `dictionary` does not fit here.

        One that reconstructs what it reads is measured where it is written, whatever else is read.
        """
        sites, width = self.reads, self.read_width
        if dictionary.autoencodes:
            sites, width = self.writes, self.written_width
        try:
            dictionary.check_width(width, self._said(sites))
        except UserError as error:
            return [f"{name}: {error}"]
        if dictionary.written == self.written_width:
            return []
        return [
            f"{name}: {self._said(self.writes)} has {self.written_width:,} numbers an activation, "
            f"the dictionary writes {dictionary.written:,}"
        ]

    def _said(self, sites: Sequence[Sequence[Site]]) -> str:
        named = [site.name for site in sites[0]]
        models = [] if len(self.models) == 1 else [f"of {len(self.models)} models"]
        if len(named) == 1:
            return " ".join([f"site {named[0]}", *models])
        return " ".join([f"the row of {len(named)} sites ({', '.join(named)})", *models])

    def said(self) -> str:
        """What is written, for messages."""
        return self._said(self.writes)


def _several(sites: Site | Sequence[Site]) -> tuple[Site, ...]:
    return (sites,) if isinstance(sites, Site) else tuple(sites)


def _in_each(models: Sequence[LoadedModel], sites: Sequence[Site]) -> tuple[tuple[Site, ...], ...]:
    others = [tuple(resolve(one.model, site.name) for site in sites) for one in models[1:]]
    return (tuple(sites), *others)


def _beside(
    seen: Seen, sites: Sequence[Sequence[Site]], kept: Bool[Tensor, "context position"]
) -> Float[Tensor, "token _"]:
    rows = [found[site.name][kept] for found, own in zip(seen, sites, strict=True) for site in own]
    return rows[0] if len(rows) == 1 else torch.cat(rows, dim=1)
