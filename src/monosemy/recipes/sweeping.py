"""The road of a sweep: one stream, every dictionary, their measurements side by side."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

from monosemy.data.streams import ActivationStream, Source
from monosemy.data.text import open_corpus
from monosemy.dictionaries.base import Dictionary
from monosemy.evaluation.measure import measure
from monosemy.foundation import storage
from monosemy.foundation.errors import UserError, refuse
from monosemy.foundation.progress import SILENT, Progress
from monosemy.recipes.building import parameters
from monosemy.recipes.dictionary import begin, finish, look_at, open_stream, pace_of
from monosemy.recipes.evaluation import (
    HELDOUT_TOKENS,
    describe_dictionary,
    describe_setting,
    training_rows,
)
from monosemy.recipes.memory import Reading, estimate
from monosemy.recipes.recipe import AUTOENCODER, CROSSCODER, DictionaryRecipe
from monosemy.recipes.setting import (
    START_ROWS,
    OpenSource,
    Places,
    Setting,
    Widths,
    find_places,
    load_places,
    open_setting,
    open_source,
    reading_of,
    width_reasons,
)
from monosemy.recipes.sweep import SHARED, Sweep
from monosemy.reports import pareto
from monosemy.tensors.axes import Activations
from monosemy.training.journal import Journal
from monosemy.training.loop import Rhythm, Training, fit
from monosemy.training.many import Columns, LearnMany, OptimiseMany, take
from monosemy.training.objectives import LearnDictionary
from monosemy.training.start import Start

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


def run_sweep(
    sweep: Sweep, out: str | Path, tokens: int = HELDOUT_TOKENS, progress: Progress = SILENT
) -> dict[str, Any]:
    """Train all, measure all on `tokens` held-out tokens, write ``sweep.json`` and the figure.

    Every dictionary has a folder of its own, as after a training alone. Run again after a stop it
    goes on from the last checkpoint.
    """
    out = Path(out)
    dictionaries = train_sweep(sweep, out, progress)
    report = measure_sweep(sweep, dictionaries, tokens, progress) | pace_of(out)
    storage.write_json(out / "sweep.json", report)
    storage.write_text(out / "pareto.svg", pareto.svg(report))
    storage.write_bytes(out / "pareto.png", pareto.png(report))
    return report


# --- training ------------------------------------------------------------------------------------


def train_sweep(
    sweep: Sweep, out: str | Path, progress: Progress = SILENT
) -> dict[str, Dictionary]:
    """Every dictionary of the sweep, each written to ``out/NAME/dictionary``."""
    out = Path(out)
    opened, members = open_sweep(sweep, progress)
    journal = Journal(out, sweep.to_json() | {"source": opened.source.fingerprint})
    for name, member in members.items():
        Journal(out / name, _about(sweep, member.recipe, opened.source))
    with closing(open_stream(sweep.base, opened)) as stream:
        return _learn(sweep, members, stream, journal, progress)


def _about(sweep: Sweep, recipe: DictionaryRecipe, rows: Source) -> dict[str, Any]:
    # A training alone would deal another order and start anew: its `source` differs, so a run is
    # not taken up by mistake.
    source = {"rows": rows.fingerprint, "order": sweep.base.seed, "dealt_to": len(sweep.recipes)}
    return asdict(replace(recipe, memory=None)) | {"source": source}


def _learn(
    sweep: Sweep,
    members: Mapping[str, Member],
    stream: ActivationStream,
    journal: Journal,
    progress: Progress,
) -> dict[str, Dictionary]:
    rows, steps = stream.first_rows(START_ROWS), len(stream)
    starts = _Starts(rows)
    programs = {
        name: begin(member.recipe, member, *starts.of(member), steps)
        for name, member in members.items()
    }
    fit(_training(sweep, members, programs, stream), journal, progress)
    _share_metrics(journal, list(members))
    return {
        name: _finish(members[name], program, starts, journal.folder / name)
        for name, program in programs.items()
    }


def _training(
    sweep: Sweep,
    members: Mapping[str, Member],
    programs: Mapping[str, LearnDictionary],
    stream: ActivationStream,
) -> Training:
    steps = len(stream)
    each = OptimiseMany(programs, {name: m.recipe.optim for name, m in members.items()}, steps)
    return Training(
        LearnMany(programs, {name: member.columns for name, member in members.items()}),
        each,
        stream,
        steps,
        Rhythm(log=min(50, steps), checkpoint=sweep.base.checkpoint),
        tokens_per_step=sweep.base.batch,
    )


def _finish(member: Member, program: LearnDictionary, starts: _Starts, folder: Path) -> Dictionary:
    rows, start = starts.of(member)
    tokens = program.steps * member.recipe.batch
    return finish(member.recipe, program, start, rows, folder / "dictionary", tokens)


class _Starts:
    """The look at the data, once for all that see the same columns in the same way."""

    def __init__(self, rows: Activations):
        self.rows = rows
        self._known: dict[Any, tuple[Activations, Start]] = {}

    def of(self, member: Member) -> tuple[Activations, Start]:
        recipe = member.recipe
        key = member.columns, recipe.centre, recipe.whiten, recipe.structure
        if key not in self._known:
            rows = take(self.rows, member.columns)
            self._known[key] = rows, look_at(recipe, member, rows)
        return self._known[key]


def _share_metrics(journal: Journal, names: Sequence[str]) -> None:
    """Every dictionary's own metrics into its folder, as a training alone leaves them."""
    lines = journal.metrics()
    for name in names:
        own = [_of(line, name) for line in lines]
        text = "".join(json.dumps(line) + "\n" for line in own)
        storage.write_text(journal.folder / name / "metrics.jsonl", text)


def _of(line: Mapping[str, float], name: str) -> dict[str, float]:
    mine = {
        key.removeprefix(f"{name}/"): v for key, v in line.items() if key.startswith(f"{name}/")
    }
    return {key: v for key, v in line.items() if "/" not in key} | mine


# --- opening -------------------------------------------------------------------------------------


def open_sweep(sweep: Sweep, progress: Progress = SILENT) -> tuple[OpenSource, dict[str, Member]]:
    """Activations of every place that is read, side by side, and who reads which of them.

    Errors
    ------
    `UserError` where more memory is expected than the recipe allows, before text is read.
    """
    whole = _carrier(sweep)
    if whole.shards is not None:
        opened = open_source(whole)
        members = _members(sweep, whole.reads, opened.read, _named)
        reading = Reading.of_shards(opened.source, (opened.read, opened.written), START_ROWS)
        _keep_within(sweep, whole, members, reading)
        return opened, members
    places = load_places(whole)
    members = _members_at(sweep, places)
    _keep_within(sweep, whole, members, _reading(whole, places))
    setting = open_setting(whole, "train", progress=progress)
    return OpenSource(*places.widths, setting.source(), setting), members


def _carrier(sweep: Sweep) -> DictionaryRecipe:
    """A recipe that reads every place of the sweep, side by side."""
    recipes = sweep.recipes.values()
    sites = list(dict.fromkeys(site for one in recipes for site in one.reads + one.writes))
    shared = {key: getattr(sweep.base, key) for key in SHARED} | {"memory": None}
    several = len(sites) * len(sweep.base.models) > 1 or set("".join(sites)) & set("*?[")
    structure = CROSSCODER if several else AUTOENCODER
    return DictionaryRecipe(
        site=",".join(sites), structure=structure, seed=sweep.base.seed, **shared
    )


def _members_at(sweep: Sweep, places: Places) -> dict[str, Member]:
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
    whole = _carrier(sweep)
    if whole.shards is not None:
        opened = open_source(whole)
        members = _members(sweep, whole.reads, opened.read, _named)
        reading = Reading.of_shards(opened.source, (opened.read, opened.written), START_ROWS)
    else:
        places = load_places(whole)
        members, reading = _members_at(sweep, places), _reading(whole, places)
    return {
        "dictionaries": [
            {
                "name": name,
                "changes": sweep.changes(name),
                "parameters": parameters(m.recipe, m.read, m.written),
                "memory_mib": _own_mib(m, reading),
            }
            for name, m in members.items()
        ],
        "steps": sweep.base.epochs * (reading.tokens // sweep.base.batch),
        "tokens": sweep.base.epochs * reading.tokens,
        "memory_mib": _memory(whole, members, reading),
    }


def _reading(whole: DictionaryRecipe, places: Places) -> Reading:
    return reading_of(places, open_corpus(whole.text, "train"), whole.tokens)


# What every dictionary of a sweep takes for itself.
_OWN = ("dictionary", "step", "passing")


def _own_mib(member: Member, reading: Reading) -> int:
    alone = estimate(member.recipe, replace(reading, read=member.read, written=member.written))
    return sum(alone[part] for part in _OWN)


def _memory(
    whole: DictionaryRecipe, members: Mapping[str, Member], reading: Reading
) -> dict[str, int]:
    """MiB at the peak: what is shared, once, and the dictionaries, each with its step."""
    shared = estimate(whole, reading)
    parts = {name: size for name, size in shared.items() if name not in (*_OWN, "total")}
    parts["dictionaries"] = sum(_own_mib(member, reading) for member in members.values())
    return {**parts, "total": sum(parts.values())}


def _keep_within(
    sweep: Sweep, whole: DictionaryRecipe, members: Mapping[str, Member], reading: Reading
) -> None:
    allowed = sweep.base.memory
    if allowed is None:
        return
    parts = _memory(whole, members, reading)
    if parts["total"] > allowed:
        raise UserError(
            f"this sweep would take about {parts['total']:,} MiB "
            f"({parts['dictionaries']:,} for {len(members)} dictionaries), and memory = "
            f"{allowed:,} allows less; sweep over fewer, lower latents or block, or raise memory"
        )


# --- measuring -----------------------------------------------------------------------------------


def measure_sweep(
    sweep: Sweep,
    dictionaries: Mapping[str, Dictionary],
    tokens: int = HELDOUT_TOKENS,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Every dictionary on the same held-out text, in one pass for each place, as JSON values."""
    whole = replace(_carrier(sweep), shards=None)
    heldout = open_setting(whole, "heldout", tokens, progress)
    members = _members_at(sweep, heldout.places)
    metrics = _measure(whole, heldout, members, dictionaries, progress)
    described = describe_setting(whole, heldout)
    return {
        **{key: described[key] for key in ("model", "text")},
        "varied": list(sweep.varied),
        "dictionaries": [
            {
                "name": name,
                "site": recipe.place,
                "changes": sweep.changes(name),
                "dictionary": describe_dictionary(recipe, dictionaries[name]),
                "metrics": metrics[name],
            }
            for name, recipe in sweep.recipes.items()
        ],
    }


def _measure(
    whole: DictionaryRecipe,
    heldout: Setting,
    members: Mapping[str, Member],
    dictionaries: Mapping[str, Dictionary],
    progress: Progress,
) -> dict[str, Any]:
    mean = training_rows(whole, heldout, progress).mean(0, keepdim=True)
    places = heldout.places
    sites = {site.name: site for site in places.reads}
    found: dict[str, Any] = {}
    for (reads, writes), names in _by_sites(members).items():
        first = members[names[0]]
        measured = measure(
            places.models,
            [sites[site] for site in writes],
            {name: dictionaries[name] for name in names},
            heldout.contexts,
            take(mean, first.columns)[0, -sum(first.written) :],
            reads=[sites[site] for site in reads],
            compute=whole.compute,
            progress=progress,
        )
        found |= {name: one.to_json() for name, one in measured.items()}
    return found


def _by_sites(members: Mapping[str, Member]) -> dict[Sites, list[str]]:
    """Names of those that read and write in the same places."""
    found: dict[Sites, list[str]] = {}
    for name, member in members.items():
        found.setdefault((member.reads, member.writes), []).append(name)
    return found
