"""What a recipe names, opened: models, places in them, text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from monosemy.data.features.source import WorldSource
from monosemy.data.features.worlds import open_world
from monosemy.data.joined import join_shards, open_live
from monosemy.data.streams import Source
from monosemy.data.text import Corpus, open_corpus
from monosemy.data.tokens import Contexts, Packing, pack
from monosemy.foundation.errors import UserError, refuse
from monosemy.foundation.progress import SILENT, Progress
from monosemy.models.loading import LoadedModel, load, reinitialised
from monosemy.models.sites import Site, match, resolve
from monosemy.recipes.memory import Reading, keep_within
from monosemy.recipes.recipe import BRANCHING, CROSS_LAYER, TRANSCODERS, DictionaryRecipe, check
from monosemy.training.end_to_end import misplaced

# Rows that the start looks at: enough for a mean in every direction, a moment to compute.
START_ROWS = 16_384


@dataclass(frozen=True, eq=False)
class Places:
    """The models of a recipe, and where they are read and written.

    Attributes
    ----------
    models : the model that is studied, and those that are compared with it.
    reads, writes : sites, the same for whatever reconstructs what it reads.
    """

    models: tuple[LoadedModel, ...]
    reads: tuple[Site, ...]
    writes: tuple[Site, ...]

    @property
    def loaded(self) -> LoadedModel:
        """The model that is studied."""
        return self.models[0]

    @property
    def columns(self) -> tuple[Site, ...]:
        """The sites whose activations lie side by side, in every model."""
        return self.reads if self.reads == self.writes else self.reads + self.writes

    @property
    def widths(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Numbers in an activation of each place that is read, and written, model after model."""
        others = (resolve(o.model, site.name) for o in self.models[1:] for site in self.reads)
        read = tuple(site.width for site in (*self.reads, *others))
        if self.reads == self.writes:
            return read, read
        return read, tuple(site.width for site in self.writes)


@dataclass(frozen=True, eq=False)
class Setting:
    """Places, and the text that is read there."""

    places: Places
    corpus: Corpus
    contexts: Contexts

    @property
    def loaded(self) -> LoadedModel:
        """The model that is studied."""
        return self.places.loaded

    @property
    def site(self) -> Site:
        """The (first) site that is written."""
        return self.places.writes[0]

    def source(self) -> Source:
        """Activations of the places, side by side, computed as they are asked for."""
        return open_live(self.places.models, self.places.columns, self.contexts)


def load_places(recipe: DictionaryRecipe) -> Places:
    """The models that the recipe names, and its places in them.

    Errors
    ------
    `UserError` for a pattern that means nothing in the first model; and where places do not fit
    what the recipe makes of them, all reasons at once.
    """
    places = find_places(recipe, load_models(recipe))
    refuse(_unfit(recipe, places), "this recipe")
    return places


def load_models(recipe: DictionaryRecipe) -> tuple[LoadedModel, ...]:
    """The models that the recipe names, with random weights if it says so."""
    models = [load(name, recipe.compute) for name in recipe.models]
    if recipe.random_model is not None:
        models = [reinitialised(loaded, recipe.random_model) for loaded in models]
    return tuple(models)


def find_places(recipe: DictionaryRecipe, models: tuple[LoadedModel, ...]) -> Places:
    """The sites of a recipe in the first of `models`: in order of computation, or of the shards."""

    def found(patterns: Sequence[str]) -> tuple[Site, ...]:
        if recipe.shards is None:
            return tuple(match(models[0].model, patterns))
        # What learned from shards has its columns in the order in which they were named.
        return tuple(resolve(models[0].model, name) for name in patterns)

    reads = found(recipe.reads)
    return Places(models, reads, found(recipe.writes) if recipe.writes else reads)


def open_setting(
    recipe: DictionaryRecipe, split: str = "train", tokens: int | None = None,
    progress: Progress = SILENT,
) -> Setting:  # fmt: skip
    """Load the model, find the sites, read and pack the text (`tokens` of it; else the recipe's)."""
    check(recipe)
    if recipe.world:
        raise UserError(
            f"world = {recipe.world!r} has no text; compare with its features: "
            f"monosemy truth run {recipe.world}"
        )
    places = load_places(recipe)
    corpus = open_corpus(recipe.text, split)
    tokens = recipe.tokens if tokens is None else tokens
    longest = min(loaded.context for loaded in places.models)
    packing = Packing(context=min(recipe.context, longest), tokens=tokens)
    contexts = pack(corpus, places.loaded.tokenizer, packing, recipe.compute, progress)
    return Setting(places, corpus, contexts)


@dataclass(frozen=True, eq=False)
class Widths:
    """How wide each place is that is read, and written; one tuple where they are the same places."""

    read: tuple[int, ...]
    written: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class OpenSource(Widths):
    """Activations to learn from, and how wide each place is that they come from.

    Attributes
    ----------
    source : the activations, all places side by side.
    setting : the models and the text, where they are computed and not read from shards.
    """

    source: Source
    setting: Setting | None = None


def open_source(recipe: DictionaryRecipe, progress: Progress = SILENT) -> OpenSource:
    """Activations to train on: of a world or from shards where the recipe names them, else live."""
    if recipe.world:
        return _open_world(recipe)
    if recipe.shards is not None:
        return _open_shards(recipe, recipe.shards)
    setting = open_setting(recipe, "train", progress=progress)
    keep_within(recipe, reading_of(setting.places, setting.corpus, setting.contexts.tokens))
    return OpenSource(*setting.places.widths, setting.source(), setting)


def reading_of(places: Places, corpus: Corpus, tokens: int) -> Reading:
    """What is read, as far as memory goes."""
    return Reading.of_models(places.models, places.widths, corpus, tokens, START_ROWS)


def _open_world(recipe: DictionaryRecipe) -> OpenSource:
    check(recipe)
    world = open_world(recipe.world, recipe.world_seed)
    source = WorldSource(world, recipe.tokens, recipe.compute)
    widths = (source.width,)
    place = {recipe.place: source.width}
    refuse(width_reasons(recipe, place, place), "this recipe")
    keep_within(recipe, Reading.of_shards(source, (widths, widths), START_ROWS))
    return OpenSource(widths, widths, source)


def _open_shards(recipe: DictionaryRecipe, folder: str) -> OpenSource:
    check(recipe)
    if len(recipe.models) > 1:
        raise UserError("shards hold one model's activations; compare_with reads several models")
    source = join_shards(folder, recipe.reads + recipe.writes)
    read = source.widths[: len(recipe.reads)]
    widths = read, source.widths[len(recipe.reads) :] or read
    here, there = recipe.reads, recipe.writes or recipe.reads
    named = (dict(zip(*place, strict=True)) for place in zip((here, there), widths, strict=True))
    refuse(width_reasons(recipe, *named), "this recipe")
    keep_within(recipe, Reading.of_shards(source, widths, START_ROWS))
    return OpenSource(*widths, source)


def _unfit(recipe: DictionaryRecipe, places: Places) -> list[str]:
    """Why these places do not do for the recipe."""
    reasons = width_reasons(recipe, *(_widths(sites) for sites in (places.reads, places.writes)))
    for other in places.models[1:]:
        reasons += _unlike(other, places)
    if recipe.end_to_end.wanted:
        reasons += misplaced(recipe.end_to_end, places.loaded, places.writes)
    return reasons


def width_reasons(
    recipe: DictionaryRecipe, reads: Mapping[str, int], writes: Mapping[str, int]
) -> list[str]:
    """Why a recipe does not fit these places, given by name, with their widths."""
    if recipe.encoder in BRANCHING:
        return recipe.local.refuse_for(recipe.latents, recipe.k, min(reads.values()))
    if recipe.structure in TRANSCODERS and list(reads) == list(writes):
        return [f"site and target are both {', '.join(reads)}; an autoencoder would do"]
    widths = {*reads.values(), *writes.values()}
    if recipe.structure != CROSS_LAYER or (len(reads) == len(writes) and len(widths) == 1):
        return []
    said = [f"{side}: {_said(sites)}" for side, sites in (("site", reads), ("target", writes))]
    return [
        "a cross-layer transcoder reads and writes as many places, all of one width; "
        + "; ".join(said)
    ]


def _unlike(other: LoadedModel, places: Places) -> list[str]:
    """Why `other` cannot be compared with the model that is studied."""
    first, reasons = places.loaded, list[str]()
    if other.vocabulary != first.vocabulary:
        reasons.append(
            f"{other.name} knows {other.vocabulary:,} tokens and {first.name} "
            f"{first.vocabulary:,}; models that are compared must read the same tokens"
        )
    for site in places.reads:
        try:
            resolve(other.model, site.name)
        except UserError as error:
            reasons.append(f"{other.name}: {error}")
    return reasons


def _widths(sites: Sequence[Site]) -> dict[str, int]:
    return {site.name: site.width for site in sites}


def _said(widths: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({width:,})" for name, width in widths.items())
