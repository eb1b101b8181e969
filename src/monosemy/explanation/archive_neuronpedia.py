"""An archive as a Neuronpedia export bundle: JSON lines, in gzipped batches."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from monosemy.explanation.archive import Archive
from monosemy.explanation.archive_layout import NEAR_MISS, RANDOM, TOP
from monosemy.explanation.archive_notes import Notes
from monosemy.explanation.archive_notes_schema import Entry
from monosemy.explanation.archive_records import Bars, ExampleRecord, FeatureRecord
from monosemy.foundation.errors import UserError
from monosemy.foundation.progress import SILENT, Progress
from monosemy.foundation.storage import write_bytes

_BATCH = 128
NOT_BINNED = -1
"""``binMin``, ``binMax`` and ``binContains`` of the largest activations, which no bin holds."""
CREATOR = "monosemy"
# Lists that a row has and an archive does not know.
_EMPTY = (
    "vector", "neuron_alignment_indices", "neuron_alignment_values", "neuron_alignment_l1",
    "correlated_neurons_indices", "correlated_neurons_pearson", "correlated_neurons_l1",
    "correlated_features_indices", "correlated_features_pearson", "correlated_features_l1",
    "decoder_weights_dist",
)  # fmt: skip


def export_neuronpedia(
    archive: Archive,
    notes: Notes | None,
    out: str | Path,
    progress: Progress = SILENT,
    created: str | None = None,
) -> Path:
    """Write the bundle ``out/MODEL/SOURCE``, named by the archive's provenance; that folder.

    Holds ``release.jsonl``, ``model.jsonl``, ``sourceset.jsonl``, ``source.jsonl`` and batches of
    128 features under ``features``, ``activations`` and ``explanations``. Labels become
    explanations. Bars of histograms are given by their centres. Near misses are left out, since a
    row has no word for them; so are intervals' shares of all firings (``binContains``), which an
    archive does not hold. Neighbours are those by decoder rows.

    Parameters
    ----------
    created : the time written into every row, ISO 8601; now by default.

    Errors
    ------
    `UserError` where the folder is there already.
    """
    model = _name(archive.provenance.get("model"), "model")
    source = _name(archive.provenance.get("source", archive.provenance.get("site")), "source")
    folder = Path(out) / model / source
    if folder.exists():
        raise UserError(f"{folder} is there already; name another folder, or remove it")
    when = created or datetime.now(UTC).isoformat(timespec="milliseconds")
    common = {"creatorId": CREATOR, "createdAt": when}
    _heads(folder, archive, model, source, common)
    with progress.task("write bundle", archive.features, "features") as task:
        for number, start in enumerate(range(0, archive.features, _BATCH)):
            ids = range(start, min(archive.features, start + _BATCH))
            place = {"modelId": model, "layer": source}
            records = {feature: archive.feature(feature) for feature in ids}
            rows = (_feature(records[f], place, common) for f in ids)
            _batch(folder / "features", number, rows)
            rows = (row for f in ids for row in _activations(archive, records[f], place, common))
            _batch(folder / "activations", number, rows)
            if notes is not None:
                labels = [entry for f in ids for entry in notes.labels(f)]
                if labels:
                    rows = (_explanation(entry, place) for entry in labels)
                    _batch(folder / "explanations", number, rows)
            task.advance(len(ids))
    return folder


def _name(value: Any, otherwise: str) -> str:
    """A name fit for a folder and for an address."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", str(value or otherwise)).strip("-.")
    return name[:100] or otherwise


def _heads(folder: Path, archive: Archive, model: str, source: str, common: dict[str, Any]) -> None:
    release = f"{model}-{source}"
    heads: dict[str, dict[str, Any]] = {
        "release": {"name": release, "description": release, "descriptionShort": release,
                    "urls": [], "creatorName": CREATOR, "creatorNameShort": CREATOR},
        "model": {"id": model, "instruct": False, "displayName": model, "displayNameShort": model},
        "sourceset": {"modelId": model, "name": source, "creatorName": CREATOR,
                      "releaseName": release, "description": source, "visibility": "PUBLIC"},
        "source": {"modelId": model, "setName": source, "id": source, "visibility": "PUBLIC",
                   "dataset": archive.provenance.get("text"), "num_prompts": archive.contexts,
                   "num_tokens_in_prompt": archive.length},
    }  # fmt: skip
    for name, row in heads.items():
        write_bytes(folder / f"{name}.jsonl", _lines([row | common]))


def _lines(rows: Iterable[dict[str, Any]]) -> bytes:
    return b"".join(
        json.dumps(row, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace") + b"\n"
        for row in rows
    )


def _batch(folder: Path, number: int, rows: Iterable[dict[str, Any]]) -> None:
    # No time in the file, so that the same archive makes the same bytes.
    write_bytes(folder / f"batch-{number}.jsonl.gz", gzip.compress(_lines(rows), 5, mtime=0))


def _feature(
    record: FeatureRecord, place: dict[str, str], common: dict[str, Any]
) -> dict[str, Any]:
    near = record.neighbours.get("decoder", [])
    return {
        **place,
        "index": str(record.id),
        "sourceSetName": place["layer"],
        **common,
        "maxActApprox": record.statistics["max"],
        "hasVector": False,
        "vectorLabel": None,
        "vectorDefaultSteerStrength": record.statistics["max"],
        "hookName": None,
        "topkCosSimIndices": [feature for feature, _ in near],
        "topkCosSimValues": [value for _, value in near],
        "neg_str": [text for _, text, _ in record.lowered],
        "neg_values": [value for _, _, value in record.lowered],
        "pos_str": [text for _, text, _ in record.raised],
        "pos_values": [value for _, _, value in record.raised],
        "frac_nonzero": record.statistics["density"],
        **_bars("freq_hist_data", record.histogram),
        **_bars("logits_hist_data", record.logit_histogram),
        **{name: [] for name in _EMPTY},
    }


def _bars(name: str, bars: Bars) -> dict[str, list[float] | list[int]]:
    centres = [(low + high) / 2 for low, high in zip(bars.edges, bars.edges[1:], strict=False)]
    return {f"{name}_bar_heights": bars.counts, f"{name}_bar_values": centres}


def _activations(
    archive: Archive, record: FeatureRecord, place: dict[str, str], common: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    for example in archive.examples(record.id):
        if example.group != NEAR_MISS:
            bounds = _bounds(example, float(record.statistics["max"] or 0), archive.intervals)
            yield _activation(example, record.id, bounds) | place | common


def _bounds(example: ExampleRecord, largest: float, intervals: int) -> tuple[Any, Any, Any]:
    """``binMin``, ``binMax``, ``binContains``."""
    if example.group == TOP:
        return NOT_BINNED, NOT_BINNED, NOT_BINNED
    if example.group == RANDOM:
        return 0.0, largest, 1.0
    step = largest / intervals
    return (example.group - 1) * step, example.group * step, None


def _activation(
    example: ExampleRecord, feature: int, bounds: tuple[Any, Any, Any]
) -> dict[str, Any]:
    values = example.activations
    largest = max(values)
    return {
        "id": f"{feature}-{example.index}",
        "index": str(feature),
        "tokens": example.tokens,
        "values": values,
        "maxValue": largest,
        "maxValueTokenIndex": values.index(largest),
        "minValue": min(values),
        "qualifyingTokenIndex": example.peak - example.start,
        "binMin": bounds[0],
        "binMax": bounds[1],
        "binContains": bounds[2],
        "dataSource": example.document,
        "dataIndex": str(example.offset),
        "dfaValues": [],
        "dfaTargetIndex": None,
        "dfaMaxValue": None,
        "lossValues": [],
        "logitContributions": None,
    }


def _explanation(entry: Entry, place: dict[str, str]) -> dict[str, Any]:
    scores = entry.data.get("scores")
    return {
        "id": entry.id,
        **place,
        "index": str(entry.feature),
        "description": entry.text,
        "authorId": entry.author or CREATOR,
        "typeName": entry.data.get("method"),
        "explanationModelName": entry.data.get("model"),
        "notes": None,
        "embedding": None,
        "createdAt": datetime.fromtimestamp(entry.created, UTC).isoformat(timespec="milliseconds"),
        "scores": [
            {"type": name, "value": value}
            for name, value in (scores.items() if isinstance(scores, dict) else ())
        ],
    }
