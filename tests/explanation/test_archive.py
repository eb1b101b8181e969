import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monosemy.explanation.archive import Archive
from monosemy.explanation.archive_columns import COLUMNS
from monosemy.explanation.archive_manifest import About
from monosemy.explanation.archive_records import Bars
from monosemy.explanation.archive_writing import ArchiveWriter, pack_strings
from monosemy.foundation.errors import UserError


def test_a_feature_is_what_was_written(tiny):
    record = tiny.feature(0)
    assert record.statistics == {"density": 0.375, "max": 2.0, "own": 1.0}
    assert (record.flags, record.parent, record.children) == ([], None, [1, 2])
    assert record.histogram == Bars([0, 1, 2, 3], [1, 0, 2])
    assert record.tokens == [(2, " b", 0.75), (0, "a", 0.25)]
    assert record.neighbours == {"decoder": [(2, 0.5)]}
    assert record.logit_histogram == Bars([], [])
    assert (record.raised, record.positions, record.sources, record.aligned) == ([], [], [], [])


def test_a_silent_feature_has_empty_places(tiny):
    record = tiny.feature(1)
    assert record.statistics == {"density": 0.0, "max": 0.0, "own": None}
    assert (record.flags, record.parent, record.children) == (["dead"], 0, [])
    assert (record.histogram, record.tokens) == (Bars([], []), [])
    assert record.neighbours == {"decoder": []}
    assert tiny.examples(1) == []
    json.dumps(record.to_json(), allow_nan=False)
    assert tiny.feature(2).flags == ["dense", "duplicate"]


def test_examples_are_what_was_written(tiny):
    top, lowest = tiny.examples(0)
    assert (top.index, top.group, top.context, top.peak, top.start) == (0, 0, 0, 2, 1)
    assert (top.ids, top.tokens, top.activations) == ([1, 2, 0], [" é", " b", "a"], [0.5, 2.0, 0])
    assert (top.document, top.offset, top.value, top.margin) == ("one", 11, 2.0, None)
    # The context goes on behind the peak's document; what lies before it there is another one's.
    assert (lowest.index, lowest.group, lowest.start, lowest.tokens) == (1, 1, 2, [" é", "a"])
    assert (lowest.document, lowest.offset, lowest.activations) == ("zwei", 0, [0.0, 1.0])
    (near,) = tiny.examples(2)
    assert (near.group, near.value, near.margin) == (255, 0.0, -0.25)
    assert (near.tokens, near.activations, near.offset) == ([" b"], [0.0], 16)
    json.dumps(near.to_json(), allow_nan=False)


def test_examples_by_group_value_and_width(tiny):
    assert [e.index for e in tiny.examples(0, groups=[1])] == [1]
    assert [e.index for e in tiny.examples(0, low=1.5)] == [0]
    assert [e.index for e in tiny.examples(0, low=0.5, high=1.0)] == [1]
    assert tiny.examples(0, groups=[]) == []
    wide, bare = tiny.examples(0, radius=9)[0], tiny.examples(0, radius=0)[0]
    assert (wide.start, wide.tokens, wide.known) == (0, ["a", " é", " b", "a"], (1, 4))
    assert wide.activations == [0.0, 0.5, 2.0, 0.0]
    assert (bare.tokens, bare.activations, bare.known) == ([" b"], [2.0], (0, 1))
    # A beginning token stands for no text: the offset is that of the next one.
    assert tiny.examples(0, radius=9)[1].tokens == ["<>", " é", "a"]
    assert tiny.examples(0, radius=9)[1].offset == 0


def test_the_rest_of_what_it_tells(tiny):
    assert (tiny.features, tiny.contexts, tiny.length, tiny.vocabulary) == (3, 2, 4, 4)
    assert (tiny.tokens, tiny.radius, tiny.intervals, tiny.hierarchical) == (7, 1, 2, True)
    assert tiny.provenance == {"model": "none", "seed": 0}
    assert list(tiny.columns) == ["density", "max", "flags", "parent", "own"]
    assert tiny.columns["own"].dtype == "f32"
    assert tiny.column("max").tolist() == [2, 0, 3]
    assert (tiny.text(1), tiny.map) == (" é", None)
    assert (tiny.token_features(1), tiny.token_features(0)) == ([(2, 1.0)], [])
    assert tiny.relations == {"decoder": "cosine of decoder rows"}
    sizes = {p.name: p.stat().st_size for p in (tiny.path / "arrays").iterdir()}
    assert tiny.bytes == sum(sizes.values())
    beyond = sum(size for name, size in sizes.items() if not name.startswith("corpus"))
    assert tiny.bytes_per_feature == beyond / 3
    assert not tiny.column("max").flags.writeable


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda a: a.feature(3), "feature 3 is none of this archive's; numbers go from 0 to 2"),
        (lambda a: a.examples(-1), "feature -1 is none"),
        (lambda a: a.examples(0, radius=-1), "radius is -1"),
        (lambda a: a.text(4), "token 4 is none of this archive's; ids go from 0 to 3"),
        (lambda a: a.column("densty"), "no column 'densty'.*did you mean 'density'"),
    ],
)
def test_what_is_not_there_is_refused(tiny, ask, message):
    with pytest.raises(UserError, match=message):
        ask(tiny)


def test_a_truncated_file_is_named(tiny):
    path = tiny.path / "arrays/examples.value.bin"
    path.write_bytes(path.read_bytes()[:-1])
    (tiny.path / "arrays/column.max.bin").unlink()
    with pytest.raises(UserError, match="2 problems") as error:
        Archive.open(tiny.path)
    assert "examples.value.bin has 9 bytes, the manifest says 10" in str(error.value)
    assert "column.max.bin is missing" in str(error.value)


@pytest.mark.parametrize("name", ["examples.value", "corpus.names", "column.max"])
def test_a_tampered_file_is_named(tiny, name):
    path = tiny.path / f"arrays/{name}.bin"
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.write_bytes(data)
    Archive.open(tiny.path)  # of the right size
    with pytest.raises(UserError, match=f"{name}.bin has SHA-256"):
        Archive.open(tiny.path, verify=True)


def test_a_link_is_no_file_of_it(tiny, tmp_path):
    path = tiny.path / "arrays/corpus.names.bin"
    secret = tmp_path / "secret"
    shutil.move(path, secret)
    path.symlink_to(secret)
    with pytest.raises(UserError, match="corpus.names.bin is not a plain file"):
        Archive.open(tiny.path)


def test_no_archive_is_said_so(tmp_path):
    with pytest.raises(UserError, match="is not the folder of an archive"):
        Archive.open(tmp_path / "nowhere")
    with pytest.raises(UserError, match="the manifest of the feature archive is missing"):
        Archive.open(tmp_path)


WORDS = ["a", " b", " naïve", "é", "<script>", " 日"]


@st.composite
def corpora(draw):
    """Token ids of contexts, and for each of three features its examples with their activations."""
    contexts, length = draw(st.integers(1, 3)), draw(st.integers(2, 9))
    radius = draw(st.integers(0, 4))
    ids = draw(st.lists(st.integers(0, 5), min_size=contexts * length, max_size=contexts * length))
    value = st.sampled_from([0.0, 0.0, 0.5, 1.0, 2.25])
    row = st.tuples(
        st.integers(0, contexts - 1),
        st.integers(0, length - 1),
        st.sampled_from([0, 1, 2, 254]),
        st.lists(value, min_size=length, max_size=length),
    )
    features = [draw(st.lists(row, max_size=4)) for _ in range(3)]
    return np.array(ids).reshape(contexts, length), radius, features


def stored(ids, radius, features):
    """The arrays of an archive of these examples, written down one by one."""
    first, first_value, rows, entries = [0], [0], [], []
    for examples in features:
        for context, peak, group, activations in examples:
            low, high = max(0, peak - radius), min(ids.shape[1], peak + radius + 1)
            inside = [(at - low, activations[at]) for at in range(low, high) if activations[at]]
            rows.append((context, peak, group, len(inside)))
            entries += inside
        first.append(len(rows))
        first_value.append(len(entries))
    words, starts = pack_strings(WORDS)
    names, name_starts = pack_strings(["only"])
    columns = np.array(rows, dtype=np.int64).reshape(-1, 4).T
    return {
        "corpus.ids": ids.astype("<u2"),
        "corpus.kept": np.packbits(np.ones(ids.size, bool), bitorder="little"),
        "corpus.run_start": np.zeros(1, "<u4"),
        "corpus.run_document": np.zeros(1, "<u4"),
        "corpus.run_offset": np.zeros(1, "<i4"),
        "corpus.names": names,
        "corpus.names_start": name_starts,
        "corpus.vocabulary": words,
        "corpus.vocabulary_start": starts,
        "examples.first": np.array(first, "<u4"),
        "examples.first_value": np.array(first_value, "<u4"),
        "examples.context": columns[0].astype("<u2"),
        "examples.peak": columns[1].astype("u1"),
        "examples.group": columns[2].astype("u1"),
        "examples.nonzeros": columns[3].astype("u1"),
        "examples.position": np.array([at for at, _ in entries], "u1"),
        "examples.value": np.array([value for _, value in entries], "<f2"),
        "column.density": np.zeros(3, "<f4"),
        "column.max": np.zeros(3, "<f4"),
        "column.flags": np.zeros(3, "<u4"),
        "histogram.counts": np.zeros((3, 2), "<u4"),
        "histogram.range": np.zeros(3, "<f4"),
    }


@settings(max_examples=40, deadline=None)
@given(corpora())
def test_written_examples_read_back_equal(tmp_path_factory, corpus):
    ids, radius, features = corpus
    columns = tuple(COLUMNS[name] for name in ("density", "max", "flags"))
    writer = ArchiveWriter(
        tmp_path_factory.mktemp("x"), About(ids.size, {}, columns, radius=radius, intervals=2)
    )
    for name, values in stored(ids, radius, features).items():
        writer.put(name, values)
    archive = writer.finish()
    archive.verify()
    for feature, examples in enumerate(features):
        found = archive.examples(feature)
        assert len(found) == len(examples)
        for record, (context, peak, group, activations) in zip(found, examples, strict=True):
            low, high = max(0, peak - radius), min(ids.shape[1], peak + radius + 1)
            assert (record.context, record.peak, record.group) == (context, peak, group)
            assert record.ids == ids[context, low:high].tolist()
            assert record.tokens == [WORDS[i] for i in record.ids]
            assert record.activations == activations[low:high]
            assert record.value == activations[peak]
            before = ids.reshape(-1)[: context * ids.shape[1] + low]
            assert record.offset == sum(len(WORDS[i]) for i in before)


def test_nothing_depends_on_what_was_asked_before(synthetic):
    again = Archive.open(synthetic.path)
    for feature in (7, 3, 7):
        assert again.feature(feature) == synthetic.feature(feature)
        examples = again.examples(feature)
        assert examples == synthetic.examples(feature)
        assert examples[0] != replace(examples[0], value=-1.0)
