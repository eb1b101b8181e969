"""A feature archive, opened: features, examples, columns, search. docs/formats/archive.md."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from monosemy.explanation.archive_arrays import Arrays
from monosemy.explanation.archive_columns import Column
from monosemy.explanation.archive_corpus import Corpus
from monosemy.explanation.archive_examples import Examples
from monosemy.explanation.archive_features import Features
from monosemy.explanation.archive_invariants import invariant_faults
from monosemy.explanation.archive_manifest import columns_of, read_manifest
from monosemy.explanation.archive_records import ExampleRecord, FeatureRecord
from monosemy.explanation.archive_search import Hits, Searcher
from monosemy.explanation.archive_select import Range, select
from monosemy.foundation.errors import UserError, nearest, refuse
from monosemy.foundation.progress import SILENT, Progress

NOTES = "notes.sqlite"
"""The mutable half, beside the manifest."""


class Archive:
    """Everything there is to show of a dictionary, read-only and memory-mapped. `open` makes one.

    Opening costs milliseconds whatever the size. It may be read from several threads at once.

    Attributes
    ----------
    path : the folder.
    manifest : ``archive.json``, checked.
    hash : SHA-256 of the manifest's bytes, and so of every array; labels carry it.
    columns : name to `Column`.
    corpus : the text it was collected from.
    """

    def __init__(self, path: Path, manifest: dict[str, Any], digest: str):
        self.path = path
        self.manifest = manifest
        self.hash = digest
        self.arrays = Arrays(path, manifest["arrays"])
        self.columns: dict[str, Column] = columns_of(manifest)
        self.corpus = Corpus(self.arrays)
        self._features = Features(self.arrays, self.corpus, self.columns, manifest)
        self._examples = Examples(self.arrays, self.corpus, manifest)

    @staticmethod
    def open(path: str | Path, verify: bool = False, progress: Progress = SILENT) -> Archive:
        """The archive in the folder `path`.

        Parameters
        ----------
        verify : compare the SHA-256 of every file too, and check every pointer and id.

        Errors
        ------
        `UserError` for a folder that holds none or an unfinished one, for a manifest that is not
        as the format says, and for files that are missing, truncated or (with `verify`) altered.
        All of them are named.
        """
        folder = Path(path)
        if not folder.is_dir():
            raise UserError(
                f"{folder} is not the folder of an archive; `monosemy archive` makes one"
            )
        if not (folder / "archive.json").exists() and (folder / "unfinished.json").exists():
            raise UserError(
                f"{folder} is only partly collected; run the same command again to finish"
            )
        archive = Archive(folder, *read_manifest(folder))
        if verify:
            archive.verify(progress)
        return archive

    def verify(self, progress: Progress = SILENT) -> None:
        """Compare every sum, then check every invariant; `UserError` names all that fail."""
        what = f"the archive in {self.path}"
        refuse(self.arrays.verify(progress), what)
        refuse(invariant_faults(self.arrays, self.manifest), what)

    @property
    def features(self) -> int:
        """Features of the dictionary."""
        return int(self.manifest["counts"]["features"])

    @property
    def contexts(self) -> int:
        """Windows of text."""
        return self.corpus.contexts

    @property
    def length(self) -> int:
        """Tokens in a window."""
        return self.corpus.length

    @property
    def tokens(self) -> int:
        """Tokens read: the denominator of every density; 0 where that is not known."""
        return int(self.manifest["tokens"])

    @property
    def vocabulary(self) -> int:
        """Token ids."""
        return self.corpus.vocabulary

    @property
    def radius(self) -> int:
        """Tokens stored on either side of a peak."""
        return int(self.manifest["radius"])

    @property
    def intervals(self) -> int:
        """Equal parts of the way from 0 to a feature's largest activation."""
        return int(self.manifest["intervals"])

    @property
    def flags(self) -> dict[str, str]:
        """Name to rule, in the order of their bits."""
        return {flag["name"]: flag["rule"] for flag in self.manifest["flags"]}

    @property
    def relations(self) -> dict[str, str]:
        """Relation of neighbours to what its value measures."""
        return dict(self.manifest["relations"])

    @property
    def hierarchical(self) -> bool:
        """Whether features have parents."""
        return "parent" in self.columns

    @property
    def provenance(self) -> dict[str, Any]:
        """Names and hashes of model, site, dictionary and text, as the writer stated them."""
        return dict(self.manifest["provenance"])

    @property
    def bytes(self) -> int:
        """Of all arrays together."""
        return sum(entry["bytes"] for entry in self.manifest["arrays"].values())

    @property
    def bytes_per_feature(self) -> float:
        """Of all arrays but the corpus, over the features."""
        listed = self.manifest["arrays"].items()
        beyond = sum(e["bytes"] for name, e in listed if not name.startswith("corpus."))
        return beyond / max(1, self.features)

    def column(self, name: str) -> np.ndarray:
        """One number a feature, memory-mapped, of shape (features,)."""
        if name not in self.columns:
            raise UserError(
                f"this archive has no column {name!r}; it has: {', '.join(self.columns)}"
                f"{nearest(name, self.columns)}"
            )
        return self.arrays[f"column.{name}"]

    def feature(self, feature: int) -> FeatureRecord:
        """All that is known of one feature, but its examples."""
        return self._features.record(self._known(feature))

    def children(self, feature: int) -> list[int]:
        """Features whose parent it is."""
        return self._features.children(self._known(feature))

    def examples(
        self,
        feature: int,
        groups: Collection[int] | None = None,
        low: float | None = None,
        high: float | None = None,
        radius: int | None = None,
    ) -> list[ExampleRecord]:
        """Examples of one feature in the order stored: top, intervals from above, random, near misses.

        Parameters
        ----------
        groups : 0 top, 1 to B intervals, 254 random, 255 near miss; all by default.
        low, high : keep those whose value lies between, both included. Near misses have value 0.
        radius : tokens shown on either side of the peak, inside context and document; as stored by
            default. Beyond what is stored activations are not `known`.
        """
        return self._examples.records(self._known(feature), groups, low, high, radius)

    def text(self, token: int) -> str:
        """The text of a token id."""
        return self.corpus.text(token)

    def token_features(self, token: int) -> list[tuple[int, float]]:
        """Features that the token owns most of, with its share of their activation mass, falling."""
        self.corpus.text(token)  # refuses an unknown id
        return self._features.of_token(token)

    def select(
        self,
        filters: Mapping[str, Range] | None = None,
        sort: str | None = None,
        descending: bool = True,
        offset: int = 0,
        limit: int | None = 100,
        wanted: Sequence[str] = (),
        unwanted: Sequence[str] = (),
        among: Sequence[int] | np.ndarray | None = None,
    ) -> tuple[int, np.ndarray]:
        """How many features pass, and `limit` of their numbers from `offset` on. See `select`."""
        return select(
            self.column, list(self.flags), self.features, filters or {}, sort, descending,
            offset, limit, wanted, unwanted, among,
        )  # fmt: skip

    def search(self, pattern: str, limit: int = 100, seconds: float = 2.0) -> Hits:
        """Examples in whose text the regular expression `pattern` is found. See `Searcher.find`."""
        return self._searcher.find(pattern, limit, seconds)

    @cached_property
    def _searcher(self) -> Searcher:
        return Searcher(self.arrays, self.corpus, self._examples)

    @property
    def map(self) -> np.ndarray | None:
        """Places in the plane, of shape (features, 2), 0 to 65,535; `None` where there is no map."""
        if "map.xy" not in self.arrays:
            return None
        return self.arrays["map.xy"]

    def _known(self, feature: int) -> int:
        if not 0 <= feature < self.features:
            raise UserError(
                f"feature {feature} is none of this archive's; numbers go from 0 to "
                f"{self.features - 1:,}"
            )
        return int(feature)
