"""From text to a dictionary: the road that follows a recipe."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from monosemy.data.streams import ActivationStream, TokenStream
from monosemy.dictionaries import files
from monosemy.dictionaries.base import Dictionary
from monosemy.dictionaries.hierarchical import HierarchicalDictionary
from monosemy.dictionaries.local import LocalDictionary
from monosemy.foundation import storage
from monosemy.foundation.progress import SILENT, Progress
from monosemy.recipes import config
from monosemy.recipes.building import build
from monosemy.recipes.recipe import HIERARCHICAL, LOCAL, DictionaryRecipe
from monosemy.recipes.setting import START_ROWS, OpenSource, Widths, open_source
from monosemy.tensors.axes import Activations
from monosemy.tensors.routes import multiplies_bfloat16
from monosemy.training.end_to_end import LearnEndToEnd, mark_unkept
from monosemy.training.hierarchical import LearnHierarchical
from monosemy.training.journal import Journal, read_metrics
from monosemy.training.local import LearnLocal
from monosemy.training.loop import Program, Rhythm, Stream, Training, fit
from monosemy.training.objectives import LearnDictionary
from monosemy.training.optim import Optimiser
from monosemy.training.start import Start, look
from monosemy.training.threshold import settle_threshold

Learner = LearnDictionary | LearnLocal | LearnHierarchical
"""What turns batches into a dictionary."""


def train_dictionary(
    recipe: DictionaryRecipe, out: str | Path, progress: Progress = SILENT
) -> Dictionary:
    """The main road: open the source, look at it, learn, write ``out/dictionary``.

    Run again with the same recipe it goes on from the last checkpoint; a finished run is read back.
    """
    opened = open_source(recipe, progress)
    about = asdict(replace(recipe, memory=None)) | {"source": opened.source.fingerprint}
    journal = Journal(Path(out), about)
    with closing(open_stream(recipe, opened)) as stream:
        rows = stream.first_rows(START_ROWS)
        start = look_at(recipe, opened, rows)
        if recipe.end_to_end.wanted:
            stream.close()
            local, training = _end_to_end(recipe, opened, rows, start)
        else:
            local, training = _local(recipe, opened, rows, start, stream)
        fit(training, journal, progress)
    tokens = training.steps * training.tokens_per_step
    return finish(recipe, local, start, rows, journal.folder / "dictionary", tokens)


def open_stream(recipe: DictionaryRecipe, opened: OpenSource) -> ActivationStream:
    """Batches of what was opened, in the order that the recipe's seed deals."""
    return ActivationStream(
        opened.source, recipe.batch, recipe.compute, recipe.epochs, recipe.block
    )


def _local(
    recipe: DictionaryRecipe, opened: OpenSource, rows: Activations, start: Start,
    stream: ActivationStream,
) -> tuple[Learner, Training]:  # fmt: skip
    """Learn from activations."""
    program = begin(recipe, opened, rows, start, len(stream))
    return program, _training(recipe, program, stream, len(stream), recipe.batch)


def _end_to_end(
    recipe: DictionaryRecipe, opened: OpenSource, rows: Activations, start: Start
) -> tuple[Learner, Training]:
    """Learn from what the model predicts: as many tokens a step as ``batch``, in whole contexts."""
    setting = opened.setting
    assert setting is not None, "shards were refused with the recipe"
    contexts = setting.contexts
    at_once = max(recipe.batch // contexts.length, 1)
    steps = max(recipe.epochs * len(contexts) // at_once, 1)
    local = begin(recipe, opened, rows, start, steps)
    assert isinstance(local, LearnDictionary), "branching encoders were refused with the recipe"
    places = setting.places
    program = LearnEndToEnd(local, places.loaded, recipe.end_to_end, places.reads, places.writes)
    stream = TokenStream(mark_unkept(contexts), at_once, recipe.compute)
    return local, _training(recipe, program, stream, steps, at_once * contexts.length)


def _training(
    recipe: DictionaryRecipe, program: Program, stream: Stream, steps: int, tokens: int
) -> Training:
    optimiser = Optimiser(program.module.parameters(), recipe.optim, steps)
    rhythm = Rhythm(log=min(50, steps), checkpoint=recipe.checkpoint)
    return Training(program, optimiser, stream, steps, rhythm, tokens_per_step=tokens)


def look_at(recipe: DictionaryRecipe, widths: Widths, rows: Activations) -> Start:
    """The look at a sample that sets the beginning: each place by itself."""
    if widths.written is widths.read:
        return look(rows, recipe.centre, widths.read, whiten=recipe.whiten)
    return look(rows, recipe.centre, widths.read + widths.written, sum(widths.read))


def begin(
    recipe: DictionaryRecipe, widths: Widths, rows: Activations, start: Start, steps: int
) -> Learner:
    """The dictionary as it stands before the first step, in the units of `start`."""
    dictionary = build(recipe, rows, start, widths.read, widths.written)
    dictionary = dictionary.to(recipe.compute.device).train()
    bfloat16_pays = multiplies_bfloat16(dictionary.b_dec.device.type)
    # The part that has a linear encoder: a branching dictionary's parents.
    flat = {LOCAL: "parents", HIERARCHICAL: "trunk"}.get(recipe.encoder)
    learns = getattr(dictionary, flat) if flat else dictionary
    learns.propose = {"auto": bfloat16_pays}.get(recipe.precision, recipe.precision == "bfloat16")
    local = LearnDictionary(learns, start, recipe.objective, steps, recipe.seed)
    active = recipe.local.active(recipe.k)
    if isinstance(dictionary, LocalDictionary):
        return LearnLocal(local, dictionary, recipe.local, active, recipe.seed)
    if isinstance(dictionary, HierarchicalDictionary):
        return LearnHierarchical(local, dictionary, active)
    return local


def finish(
    recipe: DictionaryRecipe, program: Learner, start: Start, rows: Activations,
    folder: Path, tokens: int,
) -> Dictionary:  # fmt: skip
    """What was learned from `tokens`, in the activations' own units, written to `folder`."""
    dictionary = program.result()
    x, _ = dictionary.split(rows.to(dictionary.b_dec))
    settle_threshold(dictionary, x, recipe.objective.target_l0)
    dictionary.metadata = describe(recipe, start, tokens)
    files.save(dictionary, folder)
    return dictionary


def describe(recipe: DictionaryRecipe, start: Start, tokens: int) -> dict[str, Any]:
    """What the dictionary's file says about where it comes from, under the names others read."""
    place = {"model_name": recipe.model, "hook_name": recipe.site}
    if recipe.world:
        place = {"model_name": f"world {recipe.world}", "hook_name": recipe.world}
    return {
        **place,
        **({"hook_name_out": recipe.target} if recipe.target else {}),
        "dataset_path": recipe.world or recipe.text,
        "context_size": recipe.context,
        "prepend_bos": False,
        "seed": recipe.seed,
        "trained_tokens": tokens,
        "outlier_ratio": start.outlier_ratio,
    }


def pace_of(folder: Path) -> dict[str, Any]:
    """``tokens_per_second`` of the run in `folder`, and ``shares`` of where its time went."""
    last = read_metrics(Path(folder))[-1]
    shares = {key.removeprefix("share_"): last[key] for key in last if key.startswith("share_")}
    return {"tokens_per_second": last.get("tokens_per_second"), "shares": shares}


def read_run(folder: Path) -> DictionaryRecipe:
    """The recipe that the run in `folder` followed."""
    run = storage.read_json(Path(folder) / "run.json", "the run's description")
    saved = {key: value for key, value in run["configuration"].items() if key != "source"}
    return config.override(DictionaryRecipe(), _flatten(saved))


def _flatten(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in table.items():
        flat |= (
            _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
        )
    return flat
