"""From a run, or any dictionary, to absorption and splitting on a labelled hierarchy."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from monosemy.data.labels.hierarchies import open_hierarchy
from monosemy.data.labels.labelling import Labels, joined, label
from monosemy.data.labels.sampling import spread
from monosemy.data.labels.spans import Hierarchy
from monosemy.dictionaries import files
from monosemy.dictionaries.base import Dictionary
from monosemy.evaluation.controls import controls_at
from monosemy.evaluation.structure.absorption import Probed, absorption, probe_labels
from monosemy.evaluation.structure.codes import misfits
from monosemy.evaluation.structure.results import Absorption
from monosemy.foundation.errors import UserError, refuse
from monosemy.foundation.progress import SILENT, Progress
from monosemy.recipes import config
from monosemy.recipes.dictionary import read_run
from monosemy.recipes.evaluation import L0_TOKENS
from monosemy.recipes.recipe import DictionaryRecipe
from monosemy.recipes.setting import open_setting
from monosemy.tensors.axes import Activations, Bool, Tensor

TOKENS = 60_000
# Tokens are taken evenly from this many times as many, for the sake of more documents.
_SPREAD = 5
# What a dictionary's file says of where it belongs, and the key of a recipe that means the same.
_PLACE = {
    "model_name": "model", "hook_name": "site", "dataset_path": "text", "context_size": "context",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Labelled:
    """Activations of labelled tokens of training text and of held-out text.

    Attributes
    ----------
    heldout : which are of the held-out text.
    """

    activations: Activations
    labels: Labels
    heldout: Bool[Tensor, "token"]


@dataclass(frozen=True, eq=False)
class AbsorptionReport:
    """A dictionary's absorption and splitting, and those of its controls.

    Attributes
    ----------
    recipe : model, site and text.
    labelled : what was looked at.
    l0 : active latents a labelled token.
    measured, controls : the numbers.
    """

    recipe: DictionaryRecipe
    labelled: Labelled
    l0: float
    latents: int
    measured: Absorption
    controls: dict[str, Absorption]

    def to_json(self) -> dict[str, Any]:
        """``{model, site, text, hierarchy, tokens, documents, dictionary, absorption, controls}``."""
        labels, held = self.labelled.labels, self.labelled.heldout
        return {
            "model": self.recipe.model,
            "site": self.recipe.site,
            "text": self.recipe.text,
            "hierarchy": labels.hierarchy,
            "tokens": {"fitted_on": int((~held).sum()), "held_out": int(held.sum())},
            "documents": {
                "fitted_on": len(labels.document[~held].unique()),
                "held_out": len(labels.document[held].unique()),
                "of_another_kind": labels.strangers,
            },
            "dictionary": {"latents": self.latents, "l0": self.l0},
            "absorption": self.measured.to_json(),
            "controls": {name: one.to_json() for name, one in self.controls.items()},
        }


def measure_absorption(
    path: str | Path,
    hierarchy: str | Path | None = None,
    tokens: int = TOKENS,
    changes: dict[str, str] | None = None,
    controls: bool = True,
    progress: Progress = SILENT,
) -> AbsorptionReport:
    """Absorption and splitting of the run or dictionary at `path`, beside its controls.

    Probes are fitted on training text and measured on held-out text.

    Parameters
    ----------
    hierarchy : a name of `data.labels.hierarchies`, or a JSONL file; by default ``python`` for the
        standard library and ``words`` for other text.
    tokens : of each text, taken evenly from five times as many.
    changes : keys of the recipe that are to be other ones, such as ``text``.
    controls : neurons, principal components and random directions too, at equal L0.

    Errors
    ------
    `UserError` for a path that holds neither, a dictionary that absorption means nothing for, one
    whose file does not say where it belongs, an unknown hierarchy, and text without its labels.
    """
    if tokens < 1:
        raise UserError(f"tokens is {tokens}; wanted at least 1")
    recipe, dictionary = open_dictionary(Path(path), changes or {})
    refuse(misfits(str(path), dictionary), str(path))
    chosen = open_hierarchy(hierarchy or ("python" if recipe.text == "stdlib" else "words"))
    labelled = read_labelled(recipe, chosen, tokens, progress)
    dictionary.check_width(labelled.activations.shape[1], f"site {recipe.site}")
    l0 = _l0(dictionary, labelled)
    compared: dict[str, Dictionary] = {}
    if controls:
        fitted = labelled.activations[~labelled.heldout]
        compared = controls_at(fitted, l0, dictionary.latents, recipe.compute)
    probed = probe_labels(
        labelled.activations, labelled.labels, labelled.heldout,
        compute=recipe.compute, progress=progress,
    )  # fmt: skip
    measured = _each({"dictionary": dictionary, **compared}, probed, recipe, progress)
    own = measured.pop("dictionary")
    return AbsorptionReport(recipe, labelled, l0, dictionary.latents, own, measured)


def open_dictionary(path: Path, changes: dict[str, str]) -> tuple[DictionaryRecipe, Dictionary]:
    """The dictionary of a run, or in a file of any form, with a recipe that says where it belongs."""
    if (path / "run.json").exists():
        if not (path / "dictionary" / files.CONFIG).exists():
            raise UserError(
                f"the run in {path} has no dictionary yet: it was stopped before its end. "
                f"Go on with it: monosemy train --resume {path}"
            )
        recipe, dictionary = read_run(path), files.load(path / "dictionary")
    else:
        dictionary = files.load(path)
        recipe = config.override(DictionaryRecipe(), _place(path, dictionary, changes))
    recipe = config.override(recipe, changes)
    return recipe, dictionary.to(recipe.device)


def _place(path: Path, dictionary: Dictionary, changes: dict[str, str]) -> dict[str, Any]:
    said = {
        key: dictionary.metadata[name]
        for name, key in _PLACE.items()
        if dictionary.metadata.get(name)
    }
    missing = [key for key in ("model", "site", "text") if key not in said and key not in changes]
    refuse(
        [f"{path} does not say its {key}; name it: --{key}" for key in missing],
        f"the dictionary at {path}",
    )
    return said


def read_labelled(
    recipe: DictionaryRecipe, hierarchy: Hierarchy, tokens: int = TOKENS,
    progress: Progress = SILENT,
) -> Labelled:  # fmt: skip
    """Activations and labels of `tokens` training tokens and as many held-out ones."""
    halves = [_half(recipe, hierarchy, split, tokens, progress) for split in ("train", "heldout")]
    heldout = [torch.full((len(half[1]),), i == 1) for i, half in enumerate(halves)]
    activations = torch.cat([half[0] for half in halves])
    return Labelled(activations, joined([half[1] for half in halves]), torch.cat(heldout))


def _half(
    recipe: DictionaryRecipe, hierarchy: Hierarchy, split: str, tokens: int, progress: Progress
) -> tuple[Activations, Labels]:
    setting = open_setting(recipe, split, tokens * _SPREAD, progress)
    labels = label(hierarchy, setting.corpus, setting.contexts)
    contexts, labels = spread(setting.contexts, labels, tokens)
    source = replace(setting, contexts=contexts).source()
    with progress.task(f"read {split}", source.tokens, "tokens") as task:
        rows = source.rows(0, source.tokens)[labels.rows.to(recipe.device)].float().cpu()
        task.advance(source.tokens)
    return rows, labels


@torch.no_grad()
def _l0(dictionary: Dictionary, labelled: Labelled) -> float:
    """Mean active latents of held-out labelled tokens."""
    rows = labelled.activations[labelled.heldout][:L0_TOKENS].to(dictionary.b_dec)
    return float(dictionary.code(rows).counts.float().mean())


def _each(
    dictionaries: dict[str, Dictionary], probed: Probed, recipe: DictionaryRecipe,
    progress: Progress,
) -> dict[str, Absorption]:  # fmt: skip
    return {
        name: absorption(
            dictionary, probed.x, probed.labels, probed=probed, compute=recipe.compute,
            progress=progress,
        )
        for name, dictionary in dictionaries.items()
    }  # fmt: skip
