import sys

import numpy as np
import pytest

from monosemy.explanation.archive_notes import Notes
from monosemy.explanation.archive_parquet import export_parquet
from monosemy.foundation.errors import UserError


def test_every_number_is_in_the_tables(synthetic, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    notes = Notes(None)
    notes.label(3, "three")
    features, examples = map(parquet.read_table, export_parquet(synthetic, tmp_path, notes))
    assert features.num_rows == synthetic.features
    for name in synthetic.columns:
        if name != "flags":
            np.testing.assert_array_equal(features[name].to_numpy(), synthetic.column(name))
    rows = features.to_pylist()
    assert [row["label"] for row in rows[2:5]] == [None, "three", None]
    for feature in (0, 7, 60):
        record, row = synthetic.feature(feature), rows[feature]
        assert row["flags"] == record.flags
        assert row["histogram_counts"] == record.histogram.counts
        assert [(r["text"], r["value"]) for r in row["raised"]] == [r[1:] for r in record.raised]
        near = [(r["feature"], r["value"]) for r in row["neighbours_logits"]]
        assert near == record.neighbours["logits"]
    said = features.schema.metadata[b"monosemy_archive"].decode()
    assert said == synthetic.hash
    found = examples.to_pylist()
    expected = [(f, e) for f in range(synthetic.features) for e in synthetic.examples(f)]
    assert len(found) == len(expected)
    for row, (feature, example) in list(zip(found, expected, strict=True))[::97]:
        assert (row["feature"], row["example"], row["group"]) == (
            feature,
            example.index,
            example.group,
        )
        assert (row["tokens"], row["activations"]) == (example.tokens, example.activations)
        assert (row["document"], row["offset"]) == (example.document, example.offset)
        assert row["margin"] == example.margin


def test_what_is_there_already_stays(tiny, tmp_path):
    pytest.importorskip("pyarrow")
    export_parquet(tiny, tmp_path / "out")
    with pytest.raises(UserError, match=r"features.parquet, .*examples.parquet is there already"):
        export_parquet(tiny, tmp_path / "out")


def test_without_the_extra_it_says_what_to_install(tiny, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match=r"pip install 'monosemy\[parquet\]'"):
        export_parquet(tiny, tmp_path)
