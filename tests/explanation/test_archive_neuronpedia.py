import gzip
import json

import pytest

from monosemy.explanation.archive_layout import NEAR_MISS
from monosemy.explanation.archive_neuronpedia import export_neuronpedia
from monosemy.explanation.archive_neuronpedia_reading import import_neuronpedia
from monosemy.explanation.archive_notes import Notes
from monosemy.foundation.errors import UserError

WHEN = "2026-01-01T00:00:00.000+00:00"


@pytest.fixture(scope="module")
def notes():
    made = Notes(None)
    made.label(3, "three", "me", scores={"recall_alt": 0.75}, model="a-model", method="np_max-act")
    made.label(3, "another")
    made.label(5, "fünf <b>")
    return made


@pytest.fixture(scope="module")
def bundle(synthetic, notes, tmp_path_factory):
    return export_neuronpedia(synthetic, notes, tmp_path_factory.mktemp("np"), created=WHEN)


def rows(path):
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]


def test_the_bundle_has_the_files_and_fields(bundle, synthetic):
    assert (bundle.parent.name, bundle.name) == ("synthetic", "none")
    assert sorted(path.relative_to(bundle).as_posix() for path in bundle.rglob("*.*")) == [
        "activations/batch-0.jsonl.gz", "explanations/batch-0.jsonl.gz",
        "features/batch-0.jsonl.gz", "model.jsonl", "release.jsonl", "source.jsonl",
        "sourceset.jsonl",
    ]  # fmt: skip
    feature = rows(bundle / "features/batch-0.jsonl.gz")[7]
    record = synthetic.feature(7)
    assert (feature["modelId"], feature["layer"], feature["index"]) == ("synthetic", "none", "7")
    assert feature["pos_str"] == [text for _, text, _ in record.raised]
    assert feature["neg_values"] == [value for _, _, value in record.lowered]
    assert feature["freq_hist_data_bar_heights"] == record.histogram.counts
    assert len(feature["freq_hist_data_bar_values"]) == len(record.histogram.counts)
    assert feature["maxActApprox"] == record.statistics["max"]
    assert feature["topkCosSimIndices"] == [other for other, _ in record.neighbours["decoder"]]
    first = next(r for r in rows(bundle / "activations/batch-0.jsonl.gz") if r["index"] == "7")
    example = synthetic.examples(7)[0]
    assert (first["tokens"], first["values"]) == (example.tokens, example.activations)
    assert first["maxValue"] == example.value
    assert first["values"][first["qualifyingTokenIndex"]] == example.value
    assert (first["binMin"], first["binMax"], first["createdAt"]) == (-1, -1, WHEN)


def test_the_same_archive_makes_the_same_bytes(bundle, synthetic, tmp_path):
    again = export_neuronpedia(synthetic, None, tmp_path, created=WHEN)
    for path in again.rglob("*.gz"):
        assert path.read_bytes() == (bundle / path.relative_to(again)).read_bytes()
    with pytest.raises(UserError, match="is there already"):
        export_neuronpedia(synthetic, None, tmp_path)


def test_there_and_back(bundle, synthetic, notes, tmp_path):
    back = import_neuronpedia(bundle.parent.parent, tmp_path / "back")
    back.verify()
    assert back.features == synthetic.features
    assert back.provenance["model"] == "synthetic"
    for feature in range(synthetic.features):
        was, now = synthetic.feature(feature), back.feature(feature)
        assert now.statistics["max"] == was.statistics["max"]
        assert now.statistics["density"] == was.statistics["density"]
        assert ("dead" in now.flags) == ("dead" in was.flags)
        for side in ("raised", "lowered"):
            assert [r[1:] for r in getattr(now, side)] == [r[1:] for r in getattr(was, side)]
        for bars in ("histogram", "logit_histogram"):
            assert getattr(now, bars).counts == getattr(was, bars).counts
            assert getattr(now, bars).edges == pytest.approx(getattr(was, bars).edges, abs=1e-5)
        assert now.neighbours["decoder"] == was.neighbours["decoder"]
        shown = [e for e in synthetic.examples(feature) if e.group != NEAR_MISS]
        found = back.examples(feature)
        assert [(e.group, e.tokens, e.activations, e.value, e.document) for e in found] == [
            (e.group, e.tokens, e.activations, e.value, e.document) for e in shown
        ]
    labels = Notes(tmp_path / "back" / "notes.sqlite")
    for feature in (3, 5):
        was, now = notes.labels(feature), labels.labels(feature)
        assert [(e.id, e.text, e.data) for e in now] == [(e.id, e.text, e.data) for e in was]
    assert {e.archive for e in labels.labels(3)} == {back.hash}


def spoiled(bundle, folder, change):
    """A bundle of one activation row and its feature, changed."""
    feature = rows(bundle / "features/batch-0.jsonl.gz")[7]
    row = next(r for r in rows(bundle / "activations/batch-0.jsonl.gz") if r["index"] == "7")
    change(feature, row)
    for name, value in (("features", feature), ("activations", row)):
        (folder / name).mkdir(parents=True)
        (folder / name / "batch-0.jsonl").write_text(json.dumps(value))
    return folder


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f, r: f.update(index="-1"), "features/batch-0.jsonl, line 1: .*feature -1"),
        (lambda f, r: f.update(index=10**12), "line 1: .*wanted 0 to"),
        (lambda f, r: f.pop("index"), "KeyError: 'index'"),
        (lambda f, r: f["pos_values"].pop(), "zip"),
        (lambda f, r: f.update(pos_str=[1] * 8), "pos_str is not a list of strings"),
        (lambda f, r: f.update(neg_values=[float("nan")] * 8), "not finite"),
        (lambda f, r: f["freq_hist_data_bar_heights"].pop(), "heights and"),
        (lambda f, r: f["freq_hist_data_bar_heights"].__setitem__(0, -4), "no count"),
        (lambda f, r: r["values"].pop(), "activations/batch-0.jsonl, line 1: .*tokens and"),
        (lambda f, r: r.update(qualifyingTokenIndex=99), "the peak is token 99"),
        (lambda f, r: r.update(tokens=[], values=[]), "0 tokens and 0 values"),
    ],
)
def test_damaged_rows_are_named(bundle, tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        import_neuronpedia(spoiled(bundle, tmp_path / "in", change), tmp_path / "out")


def test_a_row_as_it_is_passes(bundle, tmp_path):
    archive = import_neuronpedia(
        spoiled(bundle, tmp_path / "in", lambda f, r: None), tmp_path / "o"
    )
    assert archive.features == 8
    assert archive.feature(0).statistics == {"density": None, "max": 0.0}
    assert not (tmp_path / "o" / "notes.sqlite").exists()


def test_no_bundle_and_half_a_file_are_refused(bundle, tmp_path):
    with pytest.raises(UserError, match="holds 0 Neuronpedia bundles"):
        import_neuronpedia(tmp_path, tmp_path / "out")
    folder = spoiled(bundle, tmp_path / "in", lambda f, r: None)
    data = (bundle / "activations/batch-0.jsonl.gz").read_bytes()
    (folder / "activations/batch-1.jsonl.gz").write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match="batch-1.jsonl.gz is not a whole gzip file"):
        import_neuronpedia(folder, tmp_path / "out")
    (folder / "activations/batch-1.jsonl.gz").unlink()
    (folder / "activations/batch-1.jsonl").write_text("{}\n{")
    with pytest.raises(UserError, match=r"batch-1.jsonl, line 1: this is not a row"):
        import_neuronpedia(folder, tmp_path / "out")
