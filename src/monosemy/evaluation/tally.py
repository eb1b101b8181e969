"""One pass over contexts: everything that is gathered on the way, and what comes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from monosemy.data.tokens import Contexts
from monosemy.dictionaries.base import Dictionary
from monosemy.evaluation import reconstruction, splicing
from monosemy.evaluation.firing import Firing
from monosemy.evaluation.place import Place, Rows, Seen
from monosemy.evaluation.results import Estimate, estimate
from monosemy.evaluation.sums import DocumentSums, Sums
from monosemy.foundation.errors import UserError
from monosemy.interventions import contrast
from monosemy.interventions.edits import Edit, MeanAblate, Only, Patch, ZeroAblate, chunks
from monosemy.models.sites import Site
from monosemy.tensors.axes import Bool, Float, Int, Tensor
from monosemy.tensors.compute import Compute


@dataclass(frozen=True, eq=False)
class Measurement:
    """How good one dictionary is on held-out text.

    Attributes
    ----------
    estimates : by metric; see `reconstruction`, `firing` and `splicing` for the formulas.
    density : share of the tokens that each latent fires on.
    tokens, documents : how much text it was measured on.
    parts : explained variance of each site that is written, where there are several. The pooled
        number is mostly that of the site whose activations are largest.
    """

    estimates: dict[str, Estimate]
    density: Float[Tensor, "latent"]
    tokens: int
    documents: int
    parts: dict[str, Estimate] = field(default_factory=dict)

    def to_json(self) -> dict[str, dict[str, Any]]:
        """Metric to ``{value, low, high}``, and ``note`` where there is one."""
        return {name: one.to_json() for name, one in self.estimates.items()}


class Tally:
    """Gathers the sums of one pass over contexts; `measurements` turns them into results."""

    def __init__(
        self,
        place: Place,
        dictionaries: Mapping[str, Dictionary],
        contexts: Contexts,
        mean: Float[Tensor, "width"],
    ):
        documents = len(contexts.documents)
        self._place, self._dictionaries = place, dictionaries
        self._contexts, self._mean = contexts, mean
        self._text = DocumentSums(documents)
        self._own = {name: DocumentSums(documents) for name in dictionaries}
        self._firing = {name: Firing(documents, d.latents) for name, d in dictionaries.items()}
        self._seen = 0
        self._several = len(place.widths) > 1

    def add(self, group: Contexts, splice: bool) -> None:
        """Count in one group of contexts."""
        device = self._place.loaded.device
        ids, kept, document = (part.to(device) for part in (group.ids, group.kept, group.document))
        # A mask that hides nothing would only keep the model from its faster attention.
        mask = (~group.padding).long().to(device) if group.padding.any() else None
        run = self._place.run(ids, mask) if splice else None
        seen = [run.activations] if run else self._place.read(ids, mask)
        self._refuse_not_finite(seen, kept)
        rows, row_document = self._place.rows(seen, kept), document[kept]
        self._text.add(row_document, reconstruction.spread_terms(rows.written))
        if self._several:
            part_norm = reconstruction.part_squares(rows.written, self._place.widths)
            self._text.add(row_document, {"part_norm": part_norm})
        if run:
            self._count_ablations(run, kept, document)
        for name, dictionary in self._dictionaries.items():
            rebuilt = self._rebuild(name, dictionary, rows, row_document)
            if run:
                change = run.under(self._patches(run, rebuilt, kept))
                self._count_losses(self._own[name], "spliced", change, kept, document)

    def measurements(self, compute: Compute, note: str | None) -> dict[str, Measurement]:
        """What was gathered, as results; a `note` says why nothing was spliced."""
        seed = compute.generator("bootstrap").initial_seed()
        return {name: self._measurement(name, seed, note) for name in self._dictionaries}

    def _rebuild(
        self, name: str, dictionary: Dictionary, rows: Rows, document: Int[Tensor, "token"]
    ) -> Float[Tensor, "token written"]:
        """What the dictionary writes for `rows`, counted in on the way."""
        rebuilt = torch.empty_like(rows.written, dtype=torch.float32)
        columns = rows.given(dictionary), rows.written, document, rebuilt
        parts = (chunks(part, dictionary.latents) for part in columns)
        for x, target, where, out in zip(*parts, strict=True):
            x = x.to(dictionary.b_dec)
            code = dictionary.code(x)
            out.copy_(dictionary.decode(code, x))
            active = self._firing[name].add(code, where)
            terms = reconstruction.fidelity_terms(target.float(), out, active, self._mean)
            if self._several:
                rest = target.float() - out
                terms["part_error"] = reconstruction.part_squares(rest, self._place.widths)
            self._own[name].add(where, terms)
        return rebuilt

    def _patches(
        self,
        run: contrast.CleanRun,
        rebuilt: Float[Tensor, "token written"],
        kept: Bool[Tensor, "context position"],
    ) -> dict[Site, Edit]:
        """At every site that is written, what was rebuilt there in the place of kept activations."""
        patches: dict[Site, Edit] = {}
        for site, values in self._place.by_site(rebuilt).items():
            clean = run.activations[site.name]
            patches[site] = Patch(clean.masked_scatter(kept[..., None], values.to(clean)))
        return patches

    def _count_ablations(
        self,
        run: contrast.CleanRun,
        kept: Bool[Tensor, "context position"],
        document: Int[Tensor, "context position"],
    ) -> None:
        counted = contrast.counted_tokens(kept)
        clean = run.loss[counted]
        self._text.add(document[counted], {"predicted": torch.ones_like(clean), "ce_clean": clean})
        means = self._place.by_site(self._mean)
        ablations: dict[str, dict[Site, Edit]] = {
            "zero": {site: Only(ZeroAblate(), kept) for site in means},
            "mean": {site: Only(MeanAblate(mean), kept) for site, mean in means.items()},
        }
        for name, edits in ablations.items():
            self._count_losses(self._text, name, run.under(edits), kept, document)

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
            self._parts(sums, seed),
        )

    def _parts(self, sums: Sums, seed: int) -> dict[str, Estimate]:
        if not self._several:
            return {}
        metrics = {
            name: reconstruction.explained_variance_of_part(part, self._place.widths)
            for part, name in enumerate(self._place.names)
        }
        return estimate(sums, metrics, seed)

    def _refuse_not_finite(self, seen: Seen, kept: Bool[Tensor, "context position"]) -> None:
        for name, values in ((name, values) for found in seen for name, values in found.items()):
            bad = (kept & ~torch.isfinite(values).all(-1)).flatten()
            if bad.any():
                before = int(kept.flatten()[: int(bad.nonzero()[0])].sum())
                raise UserError(
                    f"activation at site {name} is not finite: "
                    f"{self._contexts.place(self._seen + before)}; "
                    "if a lower precision overflowed, try --dtype float32"
                )
        self._seen += int(kept.sum())
