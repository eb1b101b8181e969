"""Who reads what in a sweep: the places of all its dictionaries, opened once, and their memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

from monosemy.data.text import open_corpus
from monosemy.foundation.errors import UserError, refuse
from monosemy.foundation.progress import SILENT, Progress
from monosemy.recipes.building import parameters
from monosemy.recipes.memory import Reading, estimate
from monosemy.recipes.recipe import AUTOENCODER, CROSSCODER, DictionaryRecipe
from monosemy.recipes.setting import (
    START_ROWS,
    OpenSource,
    Places,
    Widths,
    find_places,
    load_places,
    open_setting,
    open_source,
    reading_of,
    width_reasons,
)
from monosemy.recipes.sweep import SHARED, Sweep
from monosemy.training.many import Columns

Sites = tuple[tuple[str, ...], tuple[str, ...]]
"""Names of the sites that are read, and written."""


@dataclass(frozen=True, eq=False)
class Member(Widths):
    """One dictionary of a sweep.

    Attributes
    ----------
    recipe : its own.
    columns : where its places lie in the stream.
    reads, writes : names of the sites; the same for whatever reconstructs what it reads.
    """

    recipe: DictionaryRecipe
    columns: Columns
    reads: tuple[str, ...]
    writes: tuple[str, ...]


def open_sweep(sweep: Sweep, progress: Progress = SILENT) -> tuple[OpenSource, dict[str, Member]]:
    """Activations of every place that is read, side by side, and who reads which of them.

    Errors
    ------
    `UserError` where more memory is expected than the recipe allows, before text is read.
    """
    found = _look(sweep)
    _keep_within(sweep, found)
    if found.opened is not None:
        return found.opened, found.members
    setting = open_setting(found.whole, "train", progress=progress)
    return OpenSource(*setting.places.widths, setting.source(), setting), found.members


@dataclass(frozen=True, eq=False)
class _Look:
    """A sweep before text is read: what carries it, its members, its memory; shards, opened."""

    whole: DictionaryRecipe
    members: dict[str, Member]
    reading: Reading
    opened: OpenSource | None = None


def _look(sweep: Sweep) -> _Look:
    whole = carrier(sweep)
    if whole.shards is not None:
        opened = open_source(whole)
        reading = Reading.of_shards(opened.source, (opened.read, opened.written), START_ROWS)
        members = _members(sweep, whole.reads, opened.read, _named)
        return _Look(whole, members, reading, opened)
    places = load_places(whole)
    members = members_at(sweep, places)
    reading = reading_of(places, open_corpus(whole.text, "train"), whole.tokens)
    return _Look(whole, members, reading)


def carrier(sweep: Sweep) -> DictionaryRecipe:
    """A recipe that reads every place of the sweep, side by side."""
    recipes = sweep.recipes.values()
    sites = list(dict.fromkeys(site for one in recipes for site in one.reads + one.writes))
    shared = {key: getattr(sweep.base, key) for key in SHARED} | {"memory": None}
    several = len(sites) * len(sweep.base.models) > 1 or set("".join(sites)) & set("*?[")
    structure = CROSSCODER if several else AUTOENCODER
    return DictionaryRecipe(
        site=",".join(sites), structure=structure, seed=sweep.base.seed, **shared
    )


def members_at(sweep: Sweep, places: Places) -> dict[str, Member]:
    """Every dictionary of the sweep, and where its places lie among `places`."""

    def found(recipe: DictionaryRecipe) -> Sites:
        own = find_places(recipe, places.models)
        return tuple(site.name for site in own.reads), tuple(site.name for site in own.writes)

    names = [site.name for site in places.reads]
    return _members(sweep, names, places.widths[0], found)


def _named(recipe: DictionaryRecipe) -> Sites:
    return recipe.reads, recipe.writes or recipe.reads


def _members(
    sweep: Sweep,
    names: Sequence[str],
    widths: Sequence[int],
    find: Callable[[DictionaryRecipe], Sites],
) -> dict[str, Member]:
    """Who reads which columns, where the sites `names` lie side by side, model after model."""
    ends = list(accumulate(widths))
    models = len(widths) // len(names)

    def place(name: str, model: int) -> tuple[int, int]:
        number = model * len(names) + names.index(name)
        return ends[number] - widths[number], ends[number]

    def member(recipe: DictionaryRecipe) -> Member:
        reads, writes = find(recipe)
        read = [place(name, model) for model in range(models) for name in reads]
        written = [place(name, 0) for name in writes] if recipe.writes else []
        sizes = tuple(last - first for first, last in read)
        target = tuple(last - first for first, last in written) or sizes
        return Member(sizes, target, recipe, tuple(read + written), reads, writes)

    members = {name: member(recipe) for name, recipe in sweep.recipes.items()}
    _refuse_unfit(members)
    return members


def _refuse_unfit(members: Mapping[str, Member]) -> None:
    """Places that do not do for a recipe: each reason once, with the first that has it."""
    told: dict[str, str] = {}
    for name, one in members.items():
        reads = dict(zip(one.reads, one.read, strict=False))
        writes = dict(zip(one.writes, one.written, strict=False))
        for reason in width_reasons(one.recipe, reads, writes):
            told.setdefault(reason, name)
    refuse([f"{name}: {reason}" for reason, name in told.items()], "this sweep")


# --- memory --------------------------------------------------------------------------------------


def plan_sweep(sweep: Sweep) -> dict[str, Any]:
    """Names, sizes and memory of the dictionaries, and memory and steps in all, as JSON values."""
    found = _look(sweep)
    return {
        "dictionaries": [
            {
                "name": name,
                "changes": sweep.changes(name),
                "parameters": parameters(m.recipe, m.read, m.written),
                "memory_mib": _own_mib(m, found.reading),
            }
            for name, m in found.members.items()
        ],
        "steps": sweep.base.epochs * (found.reading.tokens // sweep.base.batch),
        "tokens": sweep.base.epochs * found.reading.tokens,
        "memory_mib": _memory(found),
    }


# What every dictionary of a sweep takes for itself.
_OWN = ("dictionary", "step", "passing")


def _own_mib(member: Member, reading: Reading) -> int:
    alone = estimate(member.recipe, replace(reading, read=member.read, written=member.written))
    return sum(alone[part] for part in _OWN)


def _memory(found: _Look) -> dict[str, int]:
    """MiB at the peak: what is shared, once, and the dictionaries, each with its step."""
    shared = estimate(found.whole, found.reading)
    parts = {name: size for name, size in shared.items() if name not in (*_OWN, "total")}
    each = [_own_mib(member, found.reading) for member in found.members.values()]
    parts["dictionaries"] = sum(each)
    return {**parts, "total": sum(parts.values())}


def _keep_within(sweep: Sweep, found: _Look) -> None:
    allowed = sweep.base.memory
    if allowed is None:
        return
    parts = _memory(found)
    if parts["total"] > allowed:
        raise UserError(
            f"this sweep would take about {parts['total']:,} MiB "
            f"({parts['dictionaries']:,} for {len(found.members)} dictionaries), and memory = "
            f"{allowed:,} allows less; sweep over fewer, lower latents or block, or raise memory"
        )
