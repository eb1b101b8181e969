"""A Neuronpedia export bundle as an archive, with its explanations as labels."""

from __future__ import annotations

import gzip
import json
import math
import zlib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from monosemy.explanation.archive import NOTES, Archive
from monosemy.explanation.archive_imported import Imported, Row
from monosemy.explanation.archive_notes import Notes
from monosemy.explanation.archive_notes_schema import Entry
from monosemy.foundation.errors import UserError
from monosemy.foundation.progress import SILENT, Progress
from monosemy.foundation.storage import read_json

LARGEST_INDEX = 2**26
"""A bundle whose feature numbers go further is taken for damaged."""
_LONGEST_LINE = 64 * 2**20


def import_neuronpedia(folder: str | Path, out: str | Path, progress: Progress = SILENT) -> Archive:
    """Read the bundle in `folder` (or in its only subfolder that is one) into an archive at `out`.

    Each activation row becomes an example in a context of its own; rows of the same tokens share
    one. Tokens get numbers in the order in which they are met, since a bundle has no vocabulary.
    Activations further than 127 tokens from the peak are left out. Explanations become labels in
    ``notes.sqlite``. The number of tokens read is not in a bundle, so `Archive.tokens` is 0.

    Errors
    ------
    `UserError` for no bundle, damaged gzip, and rows that are not as they should be, with file and
    line.
    """
    place = _find(Path(folder))
    gathered = Imported(_source(place))
    files = [*_files(place / "features"), *_files(place / "activations")]
    with progress.task("read bundle", len(files), "files") as task:
        for path in files:
            feature = path.parent.name == "features"
            for line, row in _rows(path):
                try:
                    (_take_feature if feature else _take_activation)(gathered, row)
                except (KeyError, TypeError, ValueError, OverflowError) as error:
                    kind = type(error).__name__
                    raise UserError(
                        f"{path}, line {line}: this is not a row of a bundle ({kind}: {error})"
                    ) from None
            task.advance()
    archive = gathered.write(Path(out))
    _labels(place, archive)
    return archive


def _find(folder: Path) -> Path:
    found = [
        place
        for place in (folder, *folder.glob("*"), *folder.glob("*/*"))
        if (place / "features").is_dir()
    ]
    if len(found) != 1:
        raise UserError(
            f"{folder} holds {len(found)} Neuronpedia bundles; wanted one folder with features/ and "
            "activations/ in it: name it"
        )
    return found[0]


def _source(place: Path) -> dict[str, Any]:
    """What is known of model and source, for the provenance."""
    found: dict[str, Any] = {"imported": "Neuronpedia bundle"}
    for key, name in (("model", "model.jsonl"), ("source", "source.jsonl")):
        if (place / name).is_file():
            row = read_json(place / name, f"{name} of the bundle")
            if isinstance(row, dict) and isinstance(row.get("id"), str):
                found[key] = row["id"]
    return found


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.glob("*") if p.name.endswith((".jsonl", ".jsonl.gz")))


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    opened = gzip.open if path.name.endswith(".gz") else open
    try:
        with opened(path, "rb") as file:
            number = 0
            while line := file.readline(_LONGEST_LINE + 1):
                number += 1
                if len(line) > _LONGEST_LINE:
                    raise UserError(f"{path}, line {number} is longer than {_LONGEST_LINE:,} bytes")
                if not line.strip():
                    continue
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise UserError(f"{path}, line {number}: wanted a JSON object")
                yield number, row
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path} is not a whole gzip file ({error}); fetch it again") from None
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{path}, line {number} is not JSON: {error}") from None


def _index(row: dict[str, Any]) -> int:
    index = int(row["index"])
    if not 0 <= index < LARGEST_INDEX:
        raise ValueError(f"feature {index:,}; wanted 0 to {LARGEST_INDEX - 1:,}")
    return index


def _numbers(row: dict[str, Any], key: str) -> list[float]:
    values = [float(value) for value in row.get(key) or []]
    if not all(map(math.isfinite, values)):
        raise ValueError(f"{key} holds a number that is not finite")
    return values


def _strings(row: dict[str, Any], key: str) -> list[str]:
    values = row.get(key) or []
    if not (isinstance(values, list) and all(isinstance(value, str) for value in values)):
        raise TypeError(f"{key} is not a list of strings")
    return values


def _pairs(row: dict[str, Any], left: str, right: str) -> list[tuple[int, float]]:
    numbers = [int(value) for value in row.get(left) or []]
    return list(zip(numbers, _numbers(row, right), strict=True))


def _words(row: dict[str, Any], side: str) -> list[tuple[str, float]]:
    words = _strings(row, f"{side}_str")
    return list(zip(words, _numbers(row, f"{side}_values"), strict=True))


def _bars(row: dict[str, Any], name: str) -> tuple[float, float, list[int]]:
    """Lower end of the first step, width of a step, and the counts."""
    heights = _numbers(row, f"{name}_bar_heights")
    centres = _numbers(row, f"{name}_bar_values")
    if len(heights) != len(centres):
        raise ValueError(f"{name} has {len(heights)} heights and {len(centres)} values")
    counts = [round(height) for height in heights]
    if any(count < 0 or count >= 2**32 for count in counts):
        raise ValueError(f"{name} has a height that is no count")
    if not centres:
        return 0.0, 0.0, []
    if len(centres) == 1:  # nothing says how wide it is; its centre is right from 0
        return 0.0, 2 * centres[0], counts
    step = (centres[-1] - centres[0]) / (len(centres) - 1)
    return centres[0] - step / 2, step, counts


def _take_feature(gathered: Imported, row: dict[str, Any]) -> None:
    largest, density = row.get("maxActApprox"), row.get("frac_nonzero")
    gathered.add_feature(
        _index(row),
        largest=float(largest) if largest is not None else 0.0,
        density=float(density) if density is not None else math.nan,
        histogram=_bars(row, "freq_hist_data"),
        logit_histogram=_bars(row, "logits_hist_data"),
        raised=_words(row, "pos"),
        lowered=_words(row, "neg"),
        neighbours={
            "decoder": _pairs(row, "topkCosSimIndices", "topkCosSimValues"),
            "correlation": _pairs(
                row, "correlated_features_indices", "correlated_features_pearson"
            ),
        },
        aligned=_pairs(row, "neuron_alignment_indices", "neuron_alignment_values"),
    )


def _take_activation(gathered: Imported, row: dict[str, Any]) -> None:
    tokens, values = _strings(row, "tokens"), _numbers(row, "values")
    if len(tokens) != len(values) or not tokens:
        raise ValueError(f"{len(tokens)} tokens and {len(values)} values")
    peak = row.get("qualifyingTokenIndex")
    if peak is None:
        peak = row.get("maxValueTokenIndex")
    peak = values.index(max(values)) if peak is None else int(peak)
    if not 0 <= peak < len(tokens):
        raise ValueError(f"the peak is token {peak} of {len(tokens)}")
    bounds = tuple(row.get(key) for key in ("binMin", "binMax", "binContains"))
    document = row.get("dataSource")
    gathered.add_example(
        _index(row), Row(tuple(tokens), values, peak, bounds, str(document or "bundle"))
    )


def _labels(place: Path, archive: Archive) -> None:
    """Explanations as labels; where there is none, no notes are begun."""
    files = [*_files(place / "explanations"), *_files_named(place, "explanations.jsonl")]
    if not files:
        return
    with Notes(archive.path / NOTES, archive.hash) as notes:
        for path in files:
            for line, row in _rows(path):
                try:
                    entry = _label(notes, row)
                except (KeyError, TypeError, ValueError) as error:
                    raise UserError(
                        f"{path}, line {line}: this is not an explanation ({error})"
                    ) from None
                notes.take([entry])


def _files_named(place: Path, name: str) -> list[Path]:
    return [path for path in (place / name, place / f"{name}.gz") if path.is_file()]


def _label(notes: Notes, row: dict[str, Any]) -> Entry:
    text = row["description"]
    if not isinstance(text, str) or not text.strip():
        raise ValueError("it has no description")
    scores = {
        str(score.get("type")): float(score["value"])
        for score in row.get("scores") or []
        if isinstance(score, dict) and isinstance(score.get("value"), int | float)
    }
    data = {
        key: value
        for key, value in (
            ("method", row.get("typeName")),
            ("model", row.get("explanationModelName")),
            ("scores", scores),
        )
        if value
    }
    created = row.get("createdAt")
    when = datetime.fromisoformat(created).timestamp() if isinstance(created, str) else 0.0
    author = str(row.get("authorId") or "")
    key = str(row["id"]) if row.get("id") else notes.new_id()
    return Entry(
        key, "label", _index(row), "", text.strip(), author, notes.archive, when, when, data
    )
