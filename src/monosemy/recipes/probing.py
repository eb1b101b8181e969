"""From a run, or any dictionary, to k-sparse probes of labelled concepts, beside controls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from monosemy.data.concepts.aligned import ConceptTable, align, spread
from monosemy.data.concepts.catalogue import open_concepts
from monosemy.data.concepts.sets import ConceptSource
from monosemy.dictionaries.base import Dictionary
from monosemy.evaluation.controls import controls_at
from monosemy.evaluation.probing.dense import probe_dense
from monosemy.evaluation.probing.folds import Folds, Kept, deal, enough
from monosemy.evaluation.probing.nested import Probes, Truth, probe
from monosemy.evaluation.probing.outcomes import METRICS, Measured
from monosemy.evaluation.probing.single import ByLatent, by_latent
from monosemy.evaluation.results import Estimate
from monosemy.foundation.errors import UserError, refuse
from monosemy.foundation.progress import SILENT, Progress
from monosemy.interventions.edits import chunks
from monosemy.recipes.absorption import open_dictionary
from monosemy.recipes.dictionary import train_dictionary
from monosemy.recipes.evaluation import RANDOM_MODEL_SEED, training_rows
from monosemy.recipes.recipe import DictionaryRecipe
from monosemy.recipes.setting import open_setting
from monosemy.tensors.axes import Activations
from monosemy.tensors.codes import SparseCode

# Tokens are taken evenly from this many times as many, for the sake of more documents.
_SPREAD = 5
DICTIONARY, DENSE, RANDOM_MODEL = "dictionary", "dense", "random_model"


@dataclass(frozen=True)
class ProbingConfig:
    """How concepts are probed."""

    concepts: str = ""
    """``python``, ``english``, ``spelling`` or a JSONL file; python for the standard library, else
    spelling, unless given."""
    ks: tuple[int, ...] = (1, 2, 5, 16)
    """Latents of a probe."""
    tokens: int = 60_000
    """Held-out tokens, taken evenly from five times as many."""
    folds: int = 4
    """Parts that documents are dealt to; each is tested once."""
    fewest: int = 10
    """Tokens that have a concept, and that lack it, in every fold; concepts with fewer are left out."""
    limit: int = 0
    """At most so many concepts, evenly taken; 0 for all."""
    controls: bool = True
    """Neurons, principal components and random directions at equal L0, and whole activations."""
    random_model: bool = True
    """The same recipe on a model with random weights."""
    lists: str = ""
    """A folder of lists for English concepts."""

    def __post_init__(self) -> None:
        least = {"tokens": 1, "folds": 3, "fewest": 1, "limit": 0}
        reasons = [
            f"{name} is {getattr(self, name)}; wanted at least {low}"
            for name, low in least.items()
            if getattr(self, name) < low
        ]
        if not self.ks or min(self.ks) < 1 or len(set(self.ks)) < len(self.ks):
            said = ",".join(str(k) for k in self.ks)
            reasons.append(f"k is {said or 'empty'}; wanted different numbers, each at least 1")
        refuse(reasons, "this probing")


@dataclass(frozen=True, eq=False)
class Probed:
    """What `probe_concepts` found.

    Attributes
    ----------
    recipe, config : what was read, and how.
    table : the tokens and all concepts.
    kept : which concepts could be judged.
    l0 : active latents a token.
    probes : of each dictionary by name; the first is the one that is measured.
    measured : by name, then by k.
    dense : least squares on whole activations, of the model and of the random model.
    """

    recipe: DictionaryRecipe
    config: ProbingConfig
    table: ConceptTable
    kept: Kept
    folds: Folds
    l0: float
    latents: int
    probes: dict[str, Probes]
    measured: dict[str, dict[int, Measured]]
    dense: dict[str, Measured]

    def to_json(self) -> dict[str, Any]:
        """``{model, site, text, source, tokens, documents, dictionary, groups, concepts, ...}``."""
        return {
            "model": self.recipe.model,
            "site": self.recipe.site,
            "text": self.recipe.text,
            "source": self.table.source,
            "tokens": len(self.table),
            "documents": {
                "probed": len(np.unique(self.folds.document)),
                "of_another_kind": self.table.strangers,
            },
            "folds": self.folds.count,
            "ks": list(self.config.ks),
            "dictionary": {"latents": self.latents, "l0": self.l0},
            "groups": {name: self._group(rows) for name, rows in self._groups().items()},
            "concepts": [self._concept(place) for place in range(len(self.kept.numbers))],
            "left_out": {
                self.table.concepts.names[number]: {
                    "fewest_with_it_in_a_fold": has, "fewest_without_it_in_a_fold": lacks,
                    "with_it": total,
                }
                for number, (has, lacks, total) in self.kept.left_out.items()
            },
        }  # fmt: skip

    def _groups(self) -> dict[str, np.ndarray]:
        """Rows of each group of concepts; all together first."""
        groups = [self.table.concepts.concepts[number].group for number in self.kept.numbers]
        each = {name: np.flatnonzero(np.array(groups) == name) for name in dict.fromkeys(groups)}
        return {"all": np.arange(len(groups)), **each}

    def _group(self, rows: np.ndarray) -> dict[str, Any]:
        own = self.measured[DICTIONARY]
        return {
            "concepts": len(rows),
            "mean": {
                name: {str(k): _json(one.mean(rows)) for k, one in by_k.items()}
                for name, by_k in self.measured.items()
            },
            DENSE: {name: _json(one.mean(rows)) for name, one in self.dense.items()},
            "dictionary_less_control": {
                name: {str(k): _json(own[k].above(one, rows)) for k, one in by_k.items()}
                for name, by_k in self.measured.items()
                if name != DICTIONARY
            },
        }

    def _concept(self, place: int) -> dict[str, Any]:
        one = self.table.concepts.concepts[self.kept.numbers[place]]
        probes = self.probes[DICTIONARY]
        counts = probes.outcomes[self.config.ks[0]].counts[:, place].astype(np.float64)
        share = float(counts[:, [0, 2]].sum() / max(counts.sum(), 1))
        return {
            "name": one.name,
            "group": one.group,
            "parents": list(one.parents),
            "tokens": int(counts[:, [0, 2]].sum()),
            "f1_of_always": 2 * share / (1 + share),
            "best": [int(fold[place, 0]) for fold in probes.chosen],
            "speaks_for": [bool(fold[place]) for fold in probes.rising],
            DICTIONARY: {
                str(k): _json(m.of_concept(place)) for k, m in self.measured[DICTIONARY].items()
            },
            "controls": {
                name: {
                    str(k): {metric: float(m.values[metric][place]) for metric in METRICS}
                    for k, m in by_k.items()
                }
                for name, by_k in self.measured.items()
                if name != DICTIONARY
            },
            DENSE: {
                name: {metric: float(m.values[metric][place]) for metric in METRICS}
                for name, m in self.dense.items()
            },
        }


def _json(found: Mapping[str, Estimate]) -> dict[str, Any]:
    return {name: one.to_json() for name, one in found.items()}


def probe_concepts(
    path: str | Path, config: ProbingConfig | None = None, changes: dict[str, str] | None = None,
    progress: Progress = SILENT,
) -> Probed:  # fmt: skip
    """k-sparse probes of the run or dictionary at `path`, beside its controls, on held-out text.

    Parameters
    ----------
    changes : keys of the recipe that are to be other ones, such as ``text``.

    Errors
    ------
    `UserError` for a path that holds neither, a dictionary whose file does not say where it belongs or
    that writes another place than it reads, unknown concepts, fewer documents than folds, and text in
    which no concept has tokens enough.
    """
    config = config or ProbingConfig()
    path = Path(path)
    recipe, dictionary = open_dictionary(path, changes or {})
    if not dictionary.autoencodes:
        raise UserError(
            f"{path} writes another place than it reads, so it has no neurons or components to stand "
            "beside; probe an autoencoder"
        )
    if config.random_model and not (path / "run.json").exists():
        raise UserError(
            f"{path} is no run, so its recipe cannot be learned again on a model with random weights; "
            "leave that control out: --no-random-model"
        )
    name = config.concepts or ("python" if recipe.text == "stdlib" else "spelling")
    source = open_concepts(name, config.lists or None)
    table, rows = read_concepts_of(recipe, source, config.tokens, progress)
    dictionary.check_width(rows.shape[1], f"site {recipe.site}")
    seed = recipe.compute.generator("probing folds").initial_seed()
    folds = deal(table.document.numpy(), config.folds, seed)
    kept = _kept(table, folds, config)
    labels = table.has[:, kept.numbers], table.unsure[:, kept.numbers]
    truth = Truth.of(labels, folds, len(table.documents))
    code = coded(dictionary, rows)
    l0 = len(code.value) / max(code.tokens, 1)
    codes = {DICTIONARY: code}
    if config.controls:
        fitted = training_rows(recipe, open_setting(recipe, "heldout", 1), progress)
        compared = controls_at(fitted, l0, dictionary.latents, recipe.compute)
        codes |= {name: coded(one, rows) for name, one in compared.items()}
    whole = {DICTIONARY: rows} if config.controls else {}
    if config.random_model:
        codes[RANDOM_MODEL], whole[RANDOM_MODEL] = _random_model(
            recipe, path, source, config, progress
        )
    bootstrap = recipe.compute.generator("bootstrap").initial_seed()
    probes = {name: probe(one, truth, config.ks, progress) for name, one in codes.items()}
    measured = {
        name: {k: Measured.of(outcome, bootstrap) for k, outcome in found.outcomes.items()}
        for name, found in probes.items()
    }
    dense = {
        name: Measured.of(probe_dense(x.numpy(), truth, progress), bootstrap)
        for name, x in whole.items()
    }
    return Probed(
        recipe, config, table, kept, folds, l0, dictionary.latents, probes, measured, dense
    )  # fmt: skip


def read_concepts_of(
    recipe: DictionaryRecipe, source: ConceptSource, tokens: int, progress: Progress = SILENT
) -> tuple[ConceptTable, Activations]:
    """Concepts of about `tokens` held-out tokens, and their activations."""
    setting = open_setting(recipe, "heldout", tokens * _SPREAD, progress)
    table = align(source, setting.corpus, setting.contexts, progress)
    contexts, table = spread(setting.contexts, table, tokens)
    read = replace(setting, contexts=contexts).source()
    with progress.task("read activations", read.tokens, "tokens") as task:
        rows = read.rows(0, read.tokens)[table.rows.to(recipe.device)].float().cpu()
        task.advance(read.tokens)
    return table, rows


@torch.no_grad()
def coded(dictionary: Dictionary, rows: Activations) -> ByLatent:
    """The codes of all rows, latent after latent."""
    dictionary = dictionary.eval()
    parts = [
        dictionary.code(x.to(dictionary.b_dec)).to("cpu") for x in chunks(rows, dictionary.latents)
    ]
    return by_latent(SparseCode.stacked(parts))


def _kept(table: ConceptTable, folds: Folds, config: ProbingConfig) -> Kept:
    kept = enough((table.has, table.unsure), folds, config.fewest)
    if not len(kept.numbers):
        raise UserError(
            f"none of the {len(table.concepts)} concepts of {table.source} is on {config.fewest} "
            f"tokens of every fold and off as many ({len(table):,} tokens); read more: --tokens"
        )
    if config.limit and config.limit < len(kept.numbers):
        taken = np.arange(config.limit) * len(kept.numbers) // config.limit
        return Kept(kept.numbers[taken], kept.left_out)
    return kept


def _random_model(
    recipe: DictionaryRecipe, path: Path, source: ConceptSource, config: ProbingConfig,
    progress: Progress,
) -> tuple[ByLatent, Activations]:  # fmt: skip
    """The same recipe on a model with random weights, learned once and kept in the run."""
    control = replace(recipe, random_model=RANDOM_MODEL_SEED, shards=None)
    learned = train_dictionary(control, path / "controls" / "random_model", progress)
    _, rows = read_concepts_of(control, source, config.tokens, progress)
    return coded(learned.to(recipe.device), rows), rows
