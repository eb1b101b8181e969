"""One pass over contexts: everything that is gathered on the way, and what comes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from monosemy.data.tokens import Contexts
from monosemy.dictionaries.base import Dictionary
from monosemy.evaluation import reconstruction, splicing
from monosemy.evaluation.firing import Firing
from monosemy.evaluation.results import Estimate, estimate
from monosemy.evaluation.sums import DocumentSums
from monosemy.foundation.errors import UserError
from monosemy.interventions import contrast
from monosemy.interventions.edits import Edit, MeanAblate, Only, Patch, ZeroAblate, chunks
from monosemy.models import tap
from monosemy.models.loading import LoadedModel
from monosemy.models.sites import Site
from monosemy.tensors.axes import Activations, Bool, Float, Int, Tensor
from monosemy.tensors.compute import Compute


@dataclass(frozen=True, eq=False)
class Measurement:
    """How good one dictionary is on held-out text.

    Attributes
    ----------
    estimates : by metric; see `reconstruction`, `firing` and `splicing` for the formulas.
    density : share of the tokens that each latent fires on.
    tokens, documents : how much text it was measured on.
    """

    estimates: dict[str, Estimate]
    density: Float[Tensor, "latent"]
    tokens: int
    documents: int

    def to_json(self) -> dict[str, dict[str, Any]]:
        """Metric to ``{value, low, high}``, and ``note`` where there is one."""
        return {name: one.to_json() for name, one in self.estimates.items()}


class Tally:
    """Gathers the sums of one pass over contexts; `measurements` turns them into results."""

    def __init__(
        self,
        loaded: LoadedModel,
        site: Site,
        dictionaries: Mapping[str, Dictionary],
        contexts: Contexts,
        mean: Float[Tensor, "width"],
    ):
        documents = len(contexts.documents)
        self._loaded, self._site, self._dictionaries = loaded, site, dictionaries
        self._contexts, self._mean = contexts, mean
        self._ablations: dict[str, Edit] = {"zero": ZeroAblate(), "mean": MeanAblate(mean)}
        self._text = DocumentSums(documents)
        self._own = {name: DocumentSums(documents) for name in dictionaries}
        self._firing = {name: Firing(documents, d.latents) for name, d in dictionaries.items()}
        self._seen = 0

    def add(self, group: Contexts, splice: bool) -> None:
        """Count in one group of contexts."""
        device = self._loaded.device
        ids, kept, document = (part.to(device) for part in (group.ids, group.kept, group.document))
        # A mask that hides nothing would only keep the model from its faster attention.
        mask = (~group.padding).long().to(device) if group.padding.any() else None
        model, site = self._loaded.model, self._site
        run = contrast.run_clean(model, site, ids, mask) if splice else None
        activation = run.activation if run else tap.read(model, [site], ids, mask)[site.name]
        rows, row_document = activation[kept], document[kept]
        self._refuse_not_finite(rows)
        self._text.add(row_document, reconstruction.spread_terms(rows))
        if run:
            self._count_ablations(run, kept, document)
        for name, dictionary in self._dictionaries.items():
            rebuilt = self._rebuild(name, dictionary, rows, row_document)
            if run:
                edit = Patch(activation.masked_scatter(kept[..., None], rebuilt.to(activation)))
                self._count_losses(self._own[name], "spliced", run.under(edit), kept, document)

    def measurements(self, compute: Compute, note: str | None) -> dict[str, Measurement]:
        """What was gathered, as results; a `note` says why nothing was spliced."""
        seed = compute.generator("bootstrap").initial_seed()
        return {name: self._measurement(name, seed, note) for name in self._dictionaries}

    def _rebuild(
        self,
        name: str,
        dictionary: Dictionary,
        rows: Activations,
        document: Int[Tensor, "token"],
    ) -> Activations:
        """The reconstructions of `rows`, counted in on the way."""
        rebuilt = torch.empty_like(rows, dtype=torch.float32)
        parts = (chunks(part, dictionary.latents) for part in (rows, document, rebuilt))
        for x, where, out in zip(*parts, strict=True):
            code = dictionary.code(x.to(dictionary.W_dec))
            out.copy_(dictionary.decode(code))
            active = self._firing[name].add(code, where)
            terms = reconstruction.fidelity_terms(x.float(), out, active, self._mean)
            self._own[name].add(where, terms)
        return rebuilt

    def _count_ablations(
        self,
        run: contrast.CleanRun,
        kept: Bool[Tensor, "context position"],
        document: Int[Tensor, "context position"],
    ) -> None:
        counted = contrast.counted_tokens(kept)
        clean = run.loss[counted]
        self._text.add(document[counted], {"predicted": torch.ones_like(clean), "ce_clean": clean})
        for name, edit in self._ablations.items():
            self._count_losses(self._text, name, run.under(Only(edit, kept)), kept, document)

    def _count_losses(
        self,
        sums: DocumentSums,
        name: str,
        change: contrast.Change,
        kept: Bool[Tensor, "context position"],
        document: Int[Tensor, "context position"],
    ) -> None:
        counted = contrast.counted_tokens(kept)
        terms = {f"ce_{name}": change.loss[counted], f"kl_{name}": change.divergence[counted]}
        sums.add(document[counted], terms)

    def _measurement(self, name: str, seed: int, note: str | None) -> Measurement:
        sums = {**self._text.sums(), **self._own[name].sums()}
        with_text = sums["tokens"] > 0
        sums = {term: values[with_text] for term, values in sums.items()}
        firing = self._firing[name]
        spliced = (
            {metric: Estimate(None, note=note) for metric in splicing.METRICS}
            if note
            else estimate(sums, splicing.METRICS, seed)
        )
        return Measurement(
            estimate(sums, reconstruction.METRICS, seed) | firing.estimates(seed) | spliced,
            firing.density(),
            int(sums["tokens"].sum()),
            len(sums["tokens"]),
        )

    def _refuse_not_finite(self, rows: Activations) -> None:
        finite = torch.isfinite(rows).all(1)
        if not finite.all():
            place = self._contexts.place(self._seen + int((~finite).nonzero()[0]))
            raise UserError(
                f"activation at site {self._site.name} is not finite: {place}; "
                "if a lower precision overflowed, try --dtype float32"
            )
        self._seen += len(rows)
