"""An archive as Parquet: two tables that any analytical tool reads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from monosemy.explanation.archive import Archive
from monosemy.explanation.archive_notes import Notes
from monosemy.foundation.errors import UserError
from monosemy.foundation.progress import SILENT, Progress

# Features in a row group: one is read whole, so small ones suit looking things up.
_BATCH = 1024
FEATURES, EXAMPLES = "features.parquet", "examples.parquet"


def export_parquet(
    archive: Archive, out: str | Path, notes: Notes | None = None, progress: Progress = SILENT
) -> list[Path]:
    """Write ``features.parquet`` and ``examples.parquet`` into the folder `out`.

    ``features`` has a row a feature: ``feature``, ``label`` (the best one, where `notes` are given),
    every column by its name, ``flags`` as names, histogram, raised and lowered tokens with weights,
    commonest tokens with shares, neighbours by relation. ``examples`` has a row an example:
    ``feature``, ``example``, ``group``, ``context``, ``peak``, ``start``, ``document``, ``offset``,
    ``value``, ``margin``, ``tokens``, ``activations``. The archive's hash and provenance are in the
    metadata of both.

    Errors
    ------
    `UserError` where the extra ``parquet`` is not installed, and where a file is there already.
    """
    _pyarrow(out)
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / FEATURES, folder / EXAMPLES]
    if there := [str(path) for path in paths if path.exists()]:
        raise UserError(f"{', '.join(there)} is there already; name another folder, or remove it")
    with progress.task("write parquet", 2 * archive.features, "features") as task:
        _write(paths[0], _features(archive, notes, task), archive)
        _write(paths[1], _examples(archive, task), archive)
    return paths


def _pyarrow(out: str | Path) -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UserError(
            f"writing Parquet to {out} needs the extra: pip install 'monosemy[parquet]'"
        ) from None
    return pyarrow


def _write(path: Path, batches: Iterator[dict[str, Any]], archive: Archive) -> None:
    """Write batches of one schema beside `path`, then rename."""
    import json

    arrow = _pyarrow(path)
    temporary = path.with_name(f".{path.name}")
    said = {"monosemy_archive": archive.hash, "provenance": json.dumps(archive.provenance)}
    writer = None
    try:
        for batch in batches:
            table = arrow.table(batch).replace_schema_metadata(said)
            if writer is None:
                writer = arrow.parquet.ParquetWriter(temporary, table.schema, compression="zstd")
            writer.write_table(table)
        assert writer is not None  # an archive has at least one feature
        writer.close()
        os.replace(temporary, path)
    finally:
        if writer is not None:
            writer.close()
        temporary.unlink(missing_ok=True)


def _batches(archive: Archive) -> Iterator[range]:
    for start in range(0, max(1, archive.features), _BATCH):
        yield range(start, min(archive.features, start + _BATCH))


def _features(archive: Archive, notes: Notes | None, task: Any) -> Iterator[dict[str, Any]]:
    arrow = _pyarrow("")
    weighted = arrow.list_(arrow.struct([("text", arrow.string()), ("value", arrow.float32())]))
    near = arrow.list_(arrow.struct([("feature", arrow.uint32()), ("value", arrow.float32())]))
    for ids in _batches(archive):
        records = [archive.feature(feature) for feature in ids]
        labels = notes.best_labels(list(ids)) if notes is not None else {}
        chosen = slice(ids.start, ids.stop)
        batch: dict[str, Any] = {
            "feature": arrow.array(np.arange(ids.start, ids.stop), arrow.uint32()),
            "label": arrow.array([labels.get(feature) for feature in ids], arrow.string()),
        }
        for name in archive.columns:
            if name != "flags":
                values = archive.column(name)[chosen]
                batch[name] = arrow.array(values.astype(values.dtype.newbyteorder("=")))
        batch["flags"] = arrow.array([r.flags for r in records], arrow.list_(arrow.string()))
        for part, kind in (("edges", arrow.float32()), ("counts", arrow.uint32())):
            bars = [getattr(record.histogram, part) for record in records]
            batch[f"histogram_{part}"] = arrow.array(bars, arrow.list_(kind))
        for part in ("raised", "lowered", "tokens"):
            rows = [
                [{"text": text, "value": value} for _, text, value in getattr(record, part)]
                for record in records
            ]
            batch[part] = arrow.array(rows, weighted)
        for relation in archive.relations:
            rows = [
                [{"feature": other, "value": value} for other, value in record.neighbours[relation]]
                for record in records
            ]
            batch[f"neighbours_{relation}"] = arrow.array(rows, near)
        task.advance(len(ids))
        yield batch


def _examples(archive: Archive, task: Any) -> Iterator[dict[str, Any]]:
    arrow = _pyarrow("")
    whole = {"feature": arrow.uint32(), "example": arrow.uint32(), "group": arrow.uint8(),
             "context": arrow.uint32(), "peak": arrow.uint16(), "start": arrow.uint16(),
             "document": arrow.string(), "offset": arrow.int64(), "value": arrow.float32(),
             "margin": arrow.float32(), "tokens": arrow.list_(arrow.string()),
             "activations": arrow.list_(arrow.float32())}  # fmt: skip
    for ids in _batches(archive):
        rows: dict[str, list[Any]] = {name: [] for name in whole}
        for feature in ids:
            for example in archive.examples(feature):
                rows["feature"].append(feature)
                rows["example"].append(example.index)
                for name in list(whole)[2:]:
                    rows[name].append(getattr(example, name))
        task.advance(len(ids))
        yield {name: arrow.array(values, whole[name]) for name, values in rows.items()}
