"""From a run to its measurements: the dictionary on held-out text, beside its controls."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from monosemy.dictionaries import files
from monosemy.dictionaries.affine import affine_map
from monosemy.dictionaries.base import Dictionary
from monosemy.dictionaries.pruned import PrunedDictionary
from monosemy.evaluation.controls import controls_at
from monosemy.evaluation.measure import Measurement, measure
from monosemy.foundation.errors import UserError
from monosemy.foundation.progress import SILENT, Progress, Task
from monosemy.recipes.dictionary import read_run, train_dictionary
from monosemy.recipes.recipe import DictionaryRecipe
from monosemy.recipes.setting import Setting, open_setting
from monosemy.tensors.axes import Activations

HELDOUT_TOKENS = 150_000
# Training activations that the controls are fitted on: PCA of 512 axes needs far fewer.
FIT_TOKENS = 65_536
# Held-out tokens that decide which whole number of latents the controls keep.
L0_TOKENS = 8_192
# The seed of the re-initialised model; any other would do as well.
RANDOM_MODEL_SEED = 1

RANDOM_MODEL_NOTE = (
    "the re-initialised model predicts nothing, so there is no cross-entropy to recover; "
    "its explained variance and its firing are what compares"
)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A dictionary's measurements on held-out text, and those of its controls.

    Attributes
    ----------
    recipe : what the dictionary was trained by.
    dictionary : what was measured.
    heldout : the model, site and held-out contexts.
    measured : the dictionary's own numbers.
    controls : the same numbers for neurons, PCA, random directions and, unless it was left out,
        the same method on a re-initialised model.
    """

    recipe: DictionaryRecipe
    dictionary: Dictionary
    heldout: Setting
    measured: Measurement
    controls: dict[str, Measurement]

    def to_json(self) -> dict[str, Any]:
        """``{model, site, text, dictionary, metrics, controls}``."""
        return {
            **describe_setting(self.recipe, self.heldout),
            "dictionary": describe_dictionary(self.recipe, self.dictionary),
            "metrics": self.measured.to_json(),
            "controls": {name: control.to_json() for name, control in self.controls.items()},
        }


def evaluate(
    run: str | Path,
    tokens: int = HELDOUT_TOKENS,
    random_model: bool = True,
    progress: Progress = SILENT,
    prune: float | None = None,
    ica: bool = False,
) -> Evaluation:
    """Measure the finished run in `run` on `tokens` held-out tokens, beside its controls.

    The re-initialised model gets a dictionary of its own by the same recipe, kept under
    ``run/controls/random_model`` so that it is trained once.

    Parameters
    ----------
    prune : measure the dictionary under leave-one-out pruning with this threshold; see `pruned`.
    ica : independent components among the controls, which take minutes to fit.

    Errors
    ------
    `UserError` where the folder holds no run, or one that has not finished, and for a dictionary
    that cannot be pruned.
    """
    run = Path(run)
    recipe = read_run(run)
    if not (run / "dictionary" / files.CONFIG).exists():
        raise UserError(
            f"the run in {run} has no dictionary yet: it was stopped before its end. "
            f"Go on with it: monosemy train --resume {run}"
        )
    dictionary = files.load(run / "dictionary").to(recipe.device)
    if prune is not None:
        dictionary = PrunedDictionary(dictionary, prune).eval()
    evaluation = evaluate_dictionary(dictionary, recipe, tokens, progress, ica)
    if random_model:
        folder = run / "controls" / "random_model"
        control = _random_model(recipe, evaluation.heldout, folder, progress)
        evaluation.controls["random_model"] = control
    return evaluation


def evaluate_dictionary(
    dictionary: Dictionary, recipe: DictionaryRecipe, tokens: int = HELDOUT_TOKENS,
    progress: Progress = SILENT, ica: bool = False,
) -> Evaluation:  # fmt: skip
    """Measure any dictionary in the place and on the text that `recipe` names.

    Controls are fitted on training text and keep as many latents a token as the dictionary does.
    """
    heldout = open_setting(recipe, "heldout", tokens, progress)
    dictionary.check_width(sum(heldout.places.widths[0]), f"site {recipe.site}")
    rows = training_rows(recipe, heldout, progress)
    controls = _controls(recipe, dictionary, heldout, rows, ica)
    measured = _measure(heldout, {"dictionary": dictionary, **controls}, rows, recipe, progress)
    return Evaluation(recipe, dictionary, heldout, measured.pop("dictionary"), measured)


def _controls(
    recipe: DictionaryRecipe, dictionary: Dictionary, heldout: Setting, rows: Activations, ica: bool
) -> dict[str, Dictionary]:
    """Fitted on training activations; for a transcoder, the best affine map of what it reads.

    The other controls reconstruct what they read. Beside a transcoder they would read what it has
    to foretell.
    """
    x, y = dictionary.split(rows)
    if not dictionary.autoencodes:
        return {"linear": affine_map(x, y)}
    return controls_at(x, _l0(dictionary, heldout), dictionary.latents, recipe.compute, ica)


@torch.no_grad()
def _l0(dictionary: Dictionary, setting: Setting) -> float:
    """Mean active latents a token, on the beginning of the text that is measured."""
    source = setting.source()
    rows = source.rows(0, min(L0_TOKENS, source.tokens)).float()
    return float(dictionary.code(dictionary.split(rows)[0]).counts.float().mean())


def training_rows(
    recipe: DictionaryRecipe, setting: Setting, progress: Progress = SILENT
) -> Activations:
    """A sample of training activations, of the setting's model: means and controls come from it."""
    tokens = min(FIT_TOKENS, recipe.tokens)
    train = open_setting(recipe, "train", tokens, progress)
    source = replace(setting, contexts=train.contexts).source()
    return source.rows(0, source.tokens).float()


def _measure(
    heldout: Setting,
    dictionaries: Mapping[str, Dictionary],
    rows: Activations,
    recipe: DictionaryRecipe,
    progress: Progress,
    note: str = "",
) -> dict[str, Measurement]:
    places = heldout.places
    written = sum(places.widths[1])
    return measure(
        places.models,
        places.writes,
        dictionaries,
        heldout.contexts,
        rows[:, -written:].mean(0),
        reads=places.reads,
        splice=not note,
        note=note or None,
        compute=recipe.compute,
        progress=progress,
    )


def _random_model(
    recipe: DictionaryRecipe, heldout: Setting, folder: Path, progress: Progress
) -> Measurement:
    """The same method on a model that never learned: what it explains needs no features."""
    control = replace(recipe, random_model=RANDOM_MODEL_SEED, shards=None)
    watched = _Named(progress, "random model")
    dictionary = train_dictionary(control, folder, watched)
    setting = open_setting(control, "heldout", heldout.contexts.tokens, watched)
    rows = training_rows(control, setting, watched)
    own = {"dictionary": dictionary}
    return _measure(setting, own, rows, control, watched, RANDOM_MODEL_NOTE)["dictionary"]


class _Named:
    """Progress whose tasks say what they are for."""

    def __init__(self, progress: Progress, prefix: str):
        self._progress, self._prefix = progress, prefix

    def task(self, description: str, total: float, unit: str = "") -> AbstractContextManager[Task]:
        """The task, with the prefix before its description."""
        return self._progress.task(f"{self._prefix}: {description}", total, unit)


def describe_setting(recipe: DictionaryRecipe, heldout: Setting) -> dict[str, Any]:
    """The ``model``, ``site`` and ``text`` of a report."""
    loaded = heldout.loaded
    return {
        "model": {
            "name": loaded.name,
            "family": loaded.family,
            "layers": loaded.layers,
            "width": loaded.width,
            "vocabulary": loaded.vocabulary,
            "parameters": sum(p.numel() for p in loaded.model.parameters()),
        },
        "site": {"name": recipe.place, "width": sum(heldout.places.widths[1])},
        "text": {
            "name": heldout.corpus.name,
            "fingerprint": heldout.corpus.fingerprint,
            "heldout_tokens": heldout.contexts.tokens,
            "heldout_documents": len(heldout.contexts.documents),
            "train_tokens": recipe.epochs * recipe.tokens,
        },
    }


def describe_dictionary(recipe: DictionaryRecipe, dictionary: Dictionary) -> dict[str, Any]:
    """The ``dictionary`` of a report."""
    return {
        "architecture": recipe.architecture,
        "latents": dictionary.latents,
        "width": dictionary.width,
        "k": recipe.k if recipe.selection in ("topk", "batchtopk") else None,
        "trained_tokens": dictionary.metadata.get("trained_tokens"),
        "seed": recipe.seed,
    }
