"""From a run to its sharing curve, beside two nulls: turned covariances, and a random model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from monosemy.data.features.source import WorldSource
from monosemy.data.features.worlds import open_world
from monosemy.data.streams import Source
from monosemy.dictionaries import files
from monosemy.dictionaries.base import Dictionary
from monosemy.dictionaries.hierarchical import HierarchicalDictionary
from monosemy.dictionaries.local import LocalDictionary
from monosemy.evaluation.residuals import (
    check_autoencodes,
    gather,
    parents_alone,
    parents_of,
    survey,
)
from monosemy.evaluation.sharing import Half, Turning, energies, only, usable
from monosemy.evaluation.sharing_curve import Curve, Findings, verdict
from monosemy.foundation.errors import UserError, refuse
from monosemy.foundation.progress import SILENT, Progress
from monosemy.recipes.dictionary import read_run, train_dictionary
from monosemy.recipes.evaluation import HELDOUT_TOKENS, RANDOM_MODEL_SEED
from monosemy.recipes.recipe import DictionaryRecipe
from monosemy.recipes.setting import open_setting
from monosemy.tensors.compute import Compute

# Rank of charts where the run has none.
RANK = 4
# Fewer parents bend no curve that could be told from chance.
_FEWEST = 8
RANDOM_MODEL = "the same recipe on a model with random weights"


@dataclass(frozen=True)
class SharingConfig:
    """How a sharing curve is measured."""

    tokens: int = HELDOUT_TOKENS
    """Held-out activations, or fresh samples of a world."""
    rank: int = 0
    """Dimensions of a chart; 0 takes the run's own, else 4."""
    samples: int = 256
    """Residuals of each parent, in both halves together."""
    parents: int = 256
    """At most so many: those of most energy."""
    draws: int = 9
    """Draws of the null that turns covariances."""
    random_model: bool = True
    """Whether to train the same recipe on a model with random weights: the other null."""

    def refuse_for(self, width: int) -> list[str]:
        """Why there is no such curve over activations of so many numbers."""
        wanted = {"tokens": (2, self.tokens), "samples": (8, self.samples),
                  "parents": (_FEWEST, self.parents), "draws": (1, self.draws),
                  "rank": (0, self.rank)}  # fmt: skip
        reasons = [f"{name} = {value:,}; wanted at least {least}"
                   for name, (least, value) in wanted.items() if value < least]  # fmt: skip
        if self.rank > width:
            reasons.append(f"rank = {self.rank} where activations have {width} numbers; a chart has "
                           "at most as many dimensions")  # fmt: skip
        return reasons


@dataclass(frozen=True, eq=False)
class Side:
    """One dictionary's curve, and what was left out of it.

    Attributes
    ----------
    latents : parents that the dictionary has.
    dropped : how many of them the curve leaves out, by reason.
    """

    findings: Findings
    latents: int
    dropped: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        """`Findings.to_json`, with ``dictionary_parents`` and ``dropped``."""
        return {
            "dictionary_parents": self.latents,
            "dropped": self.dropped,
            **self.findings.to_json(),
        }


@dataclass(frozen=True, eq=False)
class Sharing:
    """What `measure_sharing` found."""

    recipe: DictionaryRecipe
    config: SharingConfig
    rank: int
    own: Side
    random_model: Side | None

    def to_json(self) -> dict[str, Any]:
        """``{place, dictionary, rank, parents, curve, knee, s90, nulls, verdict, ...}``."""
        own = self.own.to_json()
        rotated = own.pop("rotated")
        other = self.random_model.to_json() if self.random_model else {"note": self._why()}
        found = {RANDOM_MODEL: self.random_model.findings if self.random_model else None}
        return {
            "model": None if self.recipe.world else self.recipe.model,
            "place": self.recipe.place,
            "text": None if self.recipe.world else self.recipe.text,
            "dictionary": {"architecture": self.recipe.architecture, "seed": self.recipe.seed},
            "tokens": self.config.tokens,
            "samples": self.config.samples,
            "rank": self.rank,
            **own,
            "nulls": {"rotated": rotated, "random_model": other},
            "verdict": verdict(self.own.findings, found),
        }

    def _why(self) -> str:
        if self.recipe.world:
            return "a world has no model behind it, whose weights could be random"
        return "left out"


def measure_sharing(
    run: str | Path, config: SharingConfig | None = None, progress: Progress = SILENT
) -> Sharing:
    """Whether the parents of the run in `run` share local subspaces, on held-out activations.

    Parents are the latents of a flat dictionary, and those with children of a local or hierarchical
    one, without them (see `residuals.parents_alone`). The dictionary on a model with random weights
    is the one of `evaluation.evaluate`, kept under ``run/controls/random_model``.

    Parameters
    ----------
    run : a run's folder, or one that ``monosemy truth run --out`` made.

    Errors
    ------
    `UserError` where the folder holds no finished run, for a dictionary that writes another place than
    it reads, settings that cannot be, and where fewer than eight parents have residuals enough.
    """
    config = config or SharingConfig()
    recipe, dictionary, folder = open_run(Path(run))
    check_autoencodes(dictionary)
    refuse(config.refuse_for(dictionary.width), "this sharing curve")
    rank = config.rank or own_rank(dictionary)
    own = _side(recipe, dictionary, rank, config, progress)
    other = None
    if config.random_model and not recipe.world:
        control = replace(recipe, random_model=RANDOM_MODEL_SEED, shards=None)
        learned = train_dictionary(control, folder / "controls" / "random_model", progress)
        other = _side(control, learned.to(recipe.device), rank, config, progress)
    return Sharing(recipe, config, rank, own, other)


def open_run(path: Path) -> tuple[DictionaryRecipe, Dictionary, Path]:
    """The recipe, the dictionary as it was measured, and the run's folder."""
    run = path / "run" if (path / "run" / "run.json").exists() else path
    recipe = read_run(run)
    found = next((p for p in (path / "dictionary", run / "dictionary")
                  if (p / files.CONFIG).exists()), None)  # fmt: skip
    if found is None:
        raise UserError(
            f"the run in {run} has no dictionary yet: it was stopped before its end. "
            f"Go on with it: monosemy train --resume {run}"
        )
    return recipe, files.load(found).to(recipe.device).eval(), run


def own_rank(dictionary: Dictionary) -> int:
    """Dimensions of the subspaces that the dictionary's children lie in."""
    if isinstance(dictionary, LocalDictionary):
        return dictionary.levels[0].V.shape[1]
    if isinstance(dictionary, HierarchicalDictionary):
        return dictionary.writes.shape[1]
    return min(RANK, dictionary.width)


def _side(
    recipe: DictionaryRecipe, dictionary: Dictionary, rank: int, config: SharingConfig,
    progress: Progress,
) -> Side:  # fmt: skip
    compute = replace(recipe.compute, seed=recipe.seed)
    source = heldout(recipe, config.tokens, progress)
    dictionary.check_width(source.width, recipe.place)
    dictionary = parents_alone(dictionary)
    looked = survey(dictionary, source)
    chosen = looked.most(config.parents)
    draw = compute.generator("residuals of parents")
    banks = gather(dictionary, source, looked, chosen, config.samples // 2, draw, progress)
    good, dropped = usable(banks, least=max(2 * rank, 4))
    silent = int((looked.energy <= 0).sum())
    dropped = {"silent": silent, "beyond_the_most": len(looked.energy) - silent - len(chosen),
               **dropped}  # fmt: skip
    if int(good.sum()) < _FEWEST:
        said = ", ".join(f"{name.replace('_', ' ')} {many:,}" for name, many in dropped.items())
        raise UserError(
            f"{int(good.sum())} of {parents_of(dictionary):,} parents leave over what can be looked "
            f"at; wanted at least {_FEWEST} (left out: {said}). Read more tokens: --tokens"
        )
    first, second = (only(bank, good) for bank in banks)
    weights, halves = first.weights(), (Half.of(first, rank), Half.of(second, rank))
    findings = curves(halves, weights, rank, config.draws, compute, progress)
    return Side(findings, parents_of(dictionary), dropped)


def curves(
    halves: tuple[Half, Half], weights: Any, rank: int, draws: int, compute: Compute,
    progress: Progress = SILENT,
) -> Findings:  # fmt: skip
    """The curve of two halves, and `draws` of its null."""
    total = sum(float((h.rows.square().sum((1, 2)) * weights).sum()) for h in halves) / 2
    draw = compute.generator("turned covariances")
    found = list[Curve]()
    with progress.task("charts", draws + 1, "curves") as task:
        for number in range(draws + 1):
            turning = Turning.draw(len(weights), halves[0].rows.shape[2], draw) if number else None
            found.append(Curve(energies(*halves, weights, rank, turning), total))
            task.advance()
    seed = compute.generator("parents drawn again").initial_seed()
    return Findings(found[0], found[1:], seed)


def heldout(recipe: DictionaryRecipe, tokens: int, progress: Progress = SILENT) -> Source:
    """Activations that nothing was trained on."""
    if not recipe.world:
        return open_setting(recipe, "heldout", tokens, progress).source()
    world = open_world(recipe.world, recipe.world_seed)
    seed = recipe.compute.generator("held-out samples").initial_seed()
    return WorldSource(world, tokens, replace(recipe.compute, seed=seed))
