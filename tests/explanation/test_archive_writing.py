import hashlib
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monosemy.explanation.archive import Archive
from monosemy.explanation.archive_columns import COLUMNS, FLAGS
from monosemy.explanation.archive_manifest import About
from monosemy.explanation.archive_writing import UNFINISHED, ArchiveWriter, pack_strings
from monosemy.foundation.errors import UserError

# The tiny archive of conftest.py, byte by byte, as docs/formats/archive.md says.
BYTES = {
    "corpus.ids": "0000 0100 0200 0000  0200 0300 0100 0000",
    "corpus.kept": "df",
    "corpus.run_start": "00000000 05000000 06000000",
    "corpus.run_document": "00000000 01000000 01000000",
    "corpus.run_offset": "0a000000 ffffffff 00000000",
    "corpus.names": "6f6e65 7a776569",
    "corpus.names_start": "00000000 03000000 07000000",
    "corpus.vocabulary": "61 20c3a9 2062 3c3e",
    "corpus.vocabulary_start": "00000000 01000000 04000000 06000000 08000000",
    "examples.first": "00000000 02000000 02000000 03000000",
    "examples.first_value": "00000000 03000000 03000000 05000000",
    "examples.context": "0000 0100 0100",
    "examples.peak": "02 03 00",
    "examples.group": "00 01 ff",
    "examples.nonzeros": "02 01 02",
    "examples.position": "00 01 01 00 01",
    "examples.value": "0038 0040 003c 00b4 0042",
    "column.density": "0000c03e 00000000 0000003e",
    "column.max": "00000040 00000000 00004040",
    "column.flags": "00000000 01000000 06000000",
    "column.parent": "ffffffff 00000000 00000000",
    "histogram.range": "00008040 00000000 00008040",
    "neighbours.decoder.feature": "0200 0000 0000",
    "tokens.first": "00000000 00000000 01000000 02000000 02000000",
}


def test_the_bytes_are_those_of_the_format(tiny, tiny_arrays):
    files = {path.name: path.read_bytes() for path in (tiny.path / "arrays").iterdir()}
    assert files.keys() == {f"{name}.bin" for name in tiny_arrays}
    for name, written in BYTES.items():
        assert files[f"{name}.bin"].hex() == written.replace(" ", ""), name
    assert sorted(path.name for path in tiny.path.iterdir()) == ["archive.json", "arrays"]


def test_the_manifest_is_that_of_the_format(tiny, tiny_arrays):
    manifest = json.loads((tiny.path / "archive.json").read_text())
    assert list(manifest) == [
        "format", "version", "counts", "tokens", "radius", "intervals", "columns", "flags",
        "relations", "provenance", "arrays",
    ]  # fmt: skip
    assert (manifest["format"], manifest["version"]) == ("monosemy-archive", 1)
    assert manifest["counts"] == {
        "features": 3, "contexts": 2, "positions": 4, "vocabulary": 4, "vocabulary_bytes": 8,
        "documents": 2, "name_bytes": 7, "runs": 3, "rows": 3, "stored": 5, "bins": 4,
        "links": 2, "neighbours": 1, "top_tokens": 2,
    }  # fmt: skip
    assert manifest["columns"]["own"] == {
        "label": "own", "formula": "a number of one's own", "unit": "apples", "better": "higher"
    }  # fmt: skip
    assert manifest["flags"] == [{"name": name, "rule": rule} for name, rule in FLAGS.items()]
    data = bytes.fromhex(BYTES["corpus.ids"])
    assert manifest["arrays"]["corpus.ids"] == {
        "file": "arrays/corpus.ids.bin", "dtype": "u16", "shape": [2, 4], "bytes": 16,
        "sha256": hashlib.sha256(data).hexdigest(),
    }  # fmt: skip
    whole = (tiny.path / "archive.json").read_bytes()
    assert tiny.hash == hashlib.sha256(whole).hexdigest()


def test_big_endian_numbers_are_written_little(tmp_path, tiny, tiny_arrays, tiny_about):
    writer = ArchiveWriter(tmp_path / "big", tiny_about)
    for name, values in tiny_arrays.items():
        writer.put(name, values.astype(values.dtype.newbyteorder(">")))
    assert writer.finish().hash == tiny.hash


def test_streamed_parts_are_the_same_file(tmp_path, tiny_about):
    values = np.arange(10, dtype="<f4")
    for name, cuts in (("one", [0, 10]), ("three", [0, 3, 4, 10])):
        writer = ArchiveWriter(tmp_path / name, tiny_about)
        with writer.stream("column.max", values.dtype, values.shape) as write:
            for start, stop in zip(cuts, cuts[1:], strict=False):
                write(values[start:stop])
    one, three = ((tmp_path / name / UNFINISHED).read_text() for name in ("one", "three"))
    assert one == three
    assert (tmp_path / "three/arrays/column.max.bin").read_bytes() == values.tobytes()


def test_an_array_that_is_not_whole_leaves_nothing(tmp_path, tiny_about):
    writer = ArchiveWriter(tmp_path, tiny_about)
    with (
        pytest.raises(UserError, match=r"column.max got 8 bytes; its shape \[3\] makes 12"),
        writer.stream("column.max", np.dtype("<f4"), (3,)) as write,
    ):
        write(np.zeros(2, "<f4"))
    assert "column.max" not in writer
    assert list((tmp_path / "arrays").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("../evil", np.zeros(1, "<f4"), "no array of an archive"),
        ("column.max", np.zeros(3, "<f8"), "came as float64; wanted f32"),
        ("column.max", np.zeros((3, 1), "<f4"), "wanted features"),
        ("corpus.ids", np.zeros((2, 2), "<i4"), "came as int32; wanted u16 or u32"),
        ("column.max", np.array([np.inf], "<f4"), "1 numbers that are not finite"),
        ("examples.value", np.array([np.nan], "<f2"), "give f32"),
    ],
)
def test_wrong_arrays_are_refused(tmp_path, tiny_about, name, values, message):
    with pytest.raises(UserError, match=message):
        ArchiveWriter(tmp_path, tiny_about).put(name, values)


def test_lacking_arrays_and_shapes_that_differ_are_named(tmp_path, tiny_arrays, tiny_about):
    writer = ArchiveWriter(tmp_path, tiny_about)
    for name, values in tiny_arrays.items():
        if name != "examples.peak":
            writer.put(name, values[:2] if name == "column.max" else values)
    with pytest.raises(UserError, match="column.max has shape"):
        writer.finish()
    writer.put("column.max", tiny_arrays["column.max"])
    with pytest.raises(UserError, match="lacks examples.peak, which belongs to examples"):
        writer.finish()
    assert not (tmp_path / "archive.json").exists()
    with pytest.raises(UserError, match="only partly collected; run the same command again"):
        Archive.open(tmp_path)
    writer.put("examples.peak", tiny_arrays["examples.peak"])
    writer.finish().verify()


def test_a_writer_goes_on(tmp_path, tiny, tiny_arrays, tiny_about):
    folder = tmp_path / "again"
    first = ArchiveWriter(folder, tiny_about)
    for name in ("corpus.ids", "column.max", "column.flags"):
        first.put(name, tiny_arrays[name])
    (folder / "arrays/.column.own.bin").write_bytes(b"half")
    (folder / "arrays/column.max.bin").write_bytes(b"\0" * 12)  # of the right size
    second = ArchiveWriter(folder, tiny_about)
    assert "corpus.ids" in second
    assert "column.max" not in second
    assert not (folder / "arrays/.column.own.bin").exists()
    for name, values in tiny_arrays.items():
        if name not in second:
            second.put(name, values)
    assert second.finish().hash == tiny.hash
    with pytest.raises(UserError, match="holds a whole archive already"):
        ArchiveWriter(folder, tiny_about)


def test_other_settings_and_strangers_are_refused(tmp_path, tiny_about):
    ArchiveWriter(tmp_path / "a", tiny_about)
    other = About(8, {"model": "other"}, tiny_about.columns, 1, 2, {}, tiny_about.relations)
    with pytest.raises(UserError, match="2 problems") as error:
        ArchiveWriter(tmp_path / "a", other)
    assert "tokens is 7 in" in str(error.value)
    assert "provenance is" in str(error.value)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.tex").touch()
    with pytest.raises(UserError, match=r"holds other files \(thesis.tex\)"):
        ArchiveWriter(tmp_path / "b", tiny_about)


KILLED = """
import os, signal, sys
import numpy as np
from monosemy.explanation.archive_manifest import About
from monosemy.explanation.archive_columns import COLUMNS
from monosemy.explanation.archive_writing import ArchiveWriter
writer = ArchiveWriter(sys.argv[1], About(5, {}, (COLUMNS["max"],)))
writer.put("column.density", np.ones(1000, "<f4"))
with writer.stream("column.max", np.dtype("<f4"), (1000,)) as write:
    write(np.zeros(500, "<f4"))
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_writer_leaves_what_was_whole(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)], env=os.environ, check=False
    )
    assert done.returncode == -signal.SIGKILL
    writer = ArchiveWriter(tmp_path, About(5, {}, (COLUMNS["max"],)))
    assert "column.density" in writer
    assert "column.max" not in writer
    assert [path.name for path in (tmp_path / "arrays").iterdir()] == ["column.density.bin"]


@given(st.lists(st.text(), max_size=20))
def test_strings_come_back(strings):
    data, starts = pack_strings(strings)
    parts = [bytes(data[a:b]) for a, b in zip(starts[:-1], starts[1:], strict=True)]
    assert [part.decode() for part in parts] == [
        text.encode(errors="replace").decode() for text in strings
    ]
