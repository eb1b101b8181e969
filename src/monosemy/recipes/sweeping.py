"""The road of a sweep: one stream, every dictionary, their measurements side by side."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from monosemy.data.streams import ActivationStream, Source
from monosemy.dictionaries.base import Dictionary
from monosemy.evaluation.measure import measure
from monosemy.foundation import storage
from monosemy.foundation.progress import SILENT, Progress
from monosemy.recipes.dictionary import Learner, begin, finish, look_at, open_stream, pace_of
from monosemy.recipes.evaluation import (
    HELDOUT_TOKENS,
    describe_dictionary,
    describe_setting,
    training_rows,
)
from monosemy.recipes.recipe import DictionaryRecipe
from monosemy.recipes.setting import (
    START_ROWS,
    Setting,
    open_setting,
)
from monosemy.recipes.sweep import Sweep
from monosemy.recipes.sweep_places import Member, Sites, carrier, members_at, open_sweep
from monosemy.reports import pareto
from monosemy.tensors.axes import Activations
from monosemy.training.journal import Journal
from monosemy.training.loop import Rhythm, Training, fit
from monosemy.training.many import LearnMany, OptimiseMany, take
from monosemy.training.start import Start


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
    programs: Mapping[str, Learner],
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


def _finish(member: Member, program: Learner, starts: _Starts, folder: Path) -> Dictionary:
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


# --- measuring -----------------------------------------------------------------------------------


def measure_sweep(
    sweep: Sweep,
    dictionaries: Mapping[str, Dictionary],
    tokens: int = HELDOUT_TOKENS,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Every dictionary on the same held-out text, in one pass for each place, as JSON values."""
    whole = replace(carrier(sweep), shards=None)
    heldout = open_setting(whole, "heldout", tokens, progress)
    members = members_at(sweep, heldout.places)
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
