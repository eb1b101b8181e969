import hashlib
import itertools
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

from monosemy.explanation.archive_notes import Notes
from monosemy.foundation.errors import UserError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "notes.sqlite"


def contents(notes):
    """Everything a file holds, removed entries too."""
    return sorted(notes._connection.execute("SELECT * FROM entries").fetchall())


def test_labels_and_notes_come_back(path):
    with Notes(path, archive="hash") as notes:
        notes.label(3, " months ", "me", scores={"detection": 0.4}, model="none")
        best = notes.label(3, "the month of May", scores={"detection": 0.9, "fuzzing": 0.7})
        notes.add_note(3, "see also 4", "me")
        notes.add_note(3, "twice")
    with Notes(path) as notes:
        assert [entry.text for entry in notes.labels(3)] == ["the month of May", "months"]
        assert notes.labels(3)[0] == best
        low = notes.labels(3)[1]
        assert (low.author, low.archive, low.kind) == ("me", "hash", "label")
        assert low.data == {"model": "none", "scores": {"detection": 0.4}}
        assert [entry.text for entry in notes.notes(3)] == ["see also 4", "twice"]
        assert (notes.labels(4), notes.notes(4)) == ([], [])
        assert notes.best_labels([1, 3]) == {3: "the month of May"}
        assert notes.remove(best.id)
        assert not notes.remove(best.id)
        assert notes.best_labels([3]) == {3: "months"}


def test_a_label_without_a_score_gives_way_to_one_with_and_to_a_newer_one(path):
    notes = Notes(path)
    notes.label(1, "old")
    notes.label(1, "new")
    assert notes.best_labels([1]) == {1: "new"}
    notes.label(1, "scored", scores={"detection": 0.1})
    notes.label(1, "newest")
    assert notes.best_labels([1]) == {1: "scored"}
    assert notes.label_many([(5, "five"), (6, "six")], "them") == 2
    assert notes.best_labels([5, 6]) == {5: "five", 6: "six"}


def test_tags_lists_ratings_views_and_steering(path):
    notes = Notes(path)
    for feature in (9, 3, 9):
        notes.tag(feature, "odd")
        notes.add_to_list("mine", feature)
    notes.tag(4, "even")
    assert (notes.tags(), notes.tags(9), notes.tagged("odd")) == (["even", "odd"], ["odd"], [3, 9])
    assert notes.lists() == {"mine": [9, 3]}
    assert (notes.lists(3), notes.lists(4)) == ({"mine": [9, 3]}, {})
    notes.untag(9, "odd")
    notes.remove_from_list("mine", 9)
    assert (notes.tagged("odd"), notes.lists()) == ([3], {"mine": [3]})
    notes.tag(9, "odd")
    assert notes.tagged("odd") == [3, 9]
    notes.rate(1, "rubric", 9, "me")
    notes.rate(1, "rubric", 12, "me")
    notes.rate(1, "rubric", 3, "you")
    assert sorted(e.data["value"] for e in notes.ratings(1)) == [3.0, 12.0]
    notes.save_view("dense ones", {"flag": "dense"})
    notes.save_view("dense ones", {"flag": "dense", "sort": "max"})
    assert notes.views() == {"dense ones": {"flag": "dense", "sort": "max"}}
    notes.remove_view("dense ones")
    assert notes.views() == {}
    notes.save_steering(7, {"strength": 4, "steered": ["a"]})
    notes.save_steering(None, {"strength": 0})
    assert [e.data["strength"] for e in notes.steering()] == [4, 0]
    assert [e.data["strength"] for e in notes.steering(7)] == [4]
    assert notes.counts() == {
        "label": 0, "note": 0, "tag": 3, "list": 1, "view": 0, "steering": 2, "rating": 2
    }  # fmt: skip


def test_words_are_found(path):
    notes = Notes(path)
    notes.label(1, "months of the year")
    notes.label(2, "naïve <script>alert(1)</script>")
    notes.add_note(3, 'he said "months" twice: months')
    gone = notes.label(4, "months too")
    notes.tag(5, "monthly")
    notes.save_view("months", {})
    notes.remove(gone.id)
    found = {words: sorted(f for f, _, _ in notes.search(words)) for words in (
        "months", "mon", "YEAR months", "naive", "script", '"', "", "OR", "* AND (", "months year x",
    )}  # fmt: skip
    assert found == {
        "months": [1, 3], "mon": [1, 3, 5], "YEAR months": [1], "naive": [2], "script": [2],
        '"': [], "": [], "OR": [], "* AND (": [], "months year x": [],
    }  # fmt: skip
    (first, text, rank), (second, _, other) = notes.search("months")
    assert {first, second} == {1, 3}
    assert rank <= other < 0
    assert len(notes.search("months", limit=1)) == 1
    notes._connection.execute("INSERT INTO words (words) VALUES ('integrity-check')")


def test_merging_does_not_depend_on_the_order(tmp_path):
    files = []
    for k in range(3):
        notes = Notes(tmp_path / f"{k}.sqlite")
        notes.label(k, f"label {k}")
        notes.tag(1, "shared")
        files.append(notes)
    files[1].merge(tmp_path / "0.sqlite")
    files[1].remove(files[0].labels(0)[0].id)
    files[2].untag(1, "shared")
    merged = []
    for number, order in enumerate(itertools.permutations(range(3))):
        target = Notes(tmp_path / f"merged {number}.sqlite")
        assert sum(target.merge(tmp_path / f"{k}.sqlite") for k in order) > 0
        assert [target.merge(tmp_path / f"{k}.sqlite") for k in order] == [0, 0, 0]
        target._connection.execute("INSERT INTO words (words) VALUES ('integrity-check')")
        merged.append(target)
    assert all(contents(one) == contents(merged[0]) for one in merged)
    assert (merged[0].labels(0), merged[0].tags(1)) == ([], [])
    assert merged[0].best_labels([1, 2]) == {1: "label 1", 2: "label 2"}
    with pytest.raises(UserError, match="there are no notes at"):
        merged[0].merge(tmp_path / "nowhere")


def test_a_file_that_may_not_be_written(path):
    silent = Notes(path, writable=False)
    assert silent.search("x") == []
    assert not path.exists()
    Notes(path).label(1, "one")
    reader = Notes(path, writable=False)
    assert reader.best_labels([1]) == {1: "one"}
    with pytest.raises(UserError, match="open for reading only"):
        reader.label(1, "two")


@pytest.mark.parametrize("text", ["", "  ", "x" * 100_001])
def test_empty_and_endless_texts_are_refused(path, text):
    with pytest.raises(UserError, match="characters; wanted 1 to 100,000"):
        Notes(path).label(1, text)
    with pytest.raises(UserError, match="feature is -1"):
        Notes(path).label(-1, "x")


def test_other_files_are_refused(tmp_path):
    text, other, folder = tmp_path / "a", tmp_path / "b", tmp_path / "c"
    text.write_text("not a database, whatever it is called, and longer than a hundred bytes" * 3)
    with pytest.raises(UserError, match="is not an SQLite database; move it away"):
        Notes(text)
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE entries (x)")
    with pytest.raises(UserError, match="database of another program"):
        Notes(other)
    folder.mkdir()
    with pytest.raises(UserError, match="is not a file"):
        Notes(folder)


def test_a_newer_version_and_a_smuggled_trigger_are_refused(path):
    Notes(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute(
            "CREATE TRIGGER evil AFTER INSERT ON entries BEGIN DELETE FROM entries; END"
        )
    with pytest.raises(UserError, match=r"its tables are not those of notes \(evil\)"):
        Notes(path)
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TRIGGER evil")
        connection.execute("PRAGMA user_version = 2")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with pytest.raises(UserError, match="version 2, wanted 1"):
        Notes(path)


# Loads the notes without the package's front door, so that a process begins at once.
WRITER = """
import sys, types
package = types.ModuleType("monosemy")
package.__path__ = [sys.argv[1]]
sys.modules["monosemy"] = package
from monosemy.explanation.archive_notes import Notes
notes = Notes(sys.argv[2])
name, count = sys.argv[3], int(sys.argv[4])
for number in range(count):
    notes.label(number, f"{name} says {number}")
    notes.tag(number, "shared")
    print(number, flush=True)
"""


def writer(path, name, count):
    """A process that writes `count` labels and tags, and says which are written."""
    import monosemy

    package = os.fspath(monosemy.__path__[0])
    arguments = [sys.executable, "-c", WRITER, package, str(path), name, str(count)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)


def test_two_processes_write_at_once(path):
    writers = [writer(path, name, 25) for name in ("one", "two")]
    said = [process.communicate(timeout=100)[0].split() for process in writers]
    assert [process.returncode for process in writers] == [0, 0]
    assert said == [[str(n) for n in range(25)]] * 2
    with Notes(path) as notes:
        for number in range(25):
            texts = {entry.text for entry in notes.labels(number)}
            assert texts == {f"one says {number}", f"two says {number}"}
        assert notes.tagged("shared") == list(range(25))
        assert notes.counts()["tag"] == 25
        assert len(notes.search("says", limit=1000)) == 50
        assert notes._connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_what_was_said_to_be_written_survives_a_kill(path):
    draw = random.Random(0)
    for attempt in range(3):
        process = writer(path, f"run {attempt}", 100_000)
        assert process.stdout is not None
        last = -1
        for _ in range(draw.randint(2, 12)):
            last = int(process.stdout.readline())
        time.sleep(draw.random() * 0.01)
        process.send_signal(signal.SIGKILL)
        rest = process.communicate()[0].split()
        last = max([last, *map(int, rest)])
        with Notes(path) as notes:
            assert notes._connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            notes._connection.execute("INSERT INTO words (words) VALUES ('integrity-check')")
            for number in range(last + 1):
                assert f"run {attempt} says {number}" in {e.text for e in notes.labels(number)}
                assert notes.tags(number) == ["shared"]


def test_words_in_very_many_entries_are_given_as_they_were_written(path, monkeypatch):
    notes = Notes(path)
    notes.label_many((feature, f"token {'rare' * (feature == 7)}") for feature in range(10))
    ranked = [feature for feature, _, _ in notes.search("token", limit=3)]
    monkeypatch.setattr("monosemy.explanation.archive_notes._RANKED", 5)
    assert [feature for feature, _, _ in notes.search("token", limit=3)] == [0, 1, 2]
    assert [feature for feature, _, _ in notes.search("rare", limit=3)] == [7]
    assert ranked == [0, 1, 2]


def test_ids_and_marks_are_those_of_the_format(path):
    notes = Notes(path)
    entry = notes.tag(3, "ödd", "me")
    assert entry.id == hashlib.sha256('["tag", 3, "ödd"]'.encode()).hexdigest()
    rated = notes.rate(3, "rubric", 1, "me").id
    assert rated == hashlib.sha256(b'["rating", 3, "rubric", "me"]').hexdigest()
    view = notes.save_view("v", {}).id
    assert view == hashlib.sha256(b'["view", null, "v"]').hexdigest()
    label = notes.label(3, "x").id
    assert len(label) == 32
    assert set(label) <= set("0123456789abcdef")
    notes.close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    head = path.read_bytes()[:100]
    assert (head[68:72], head[60:64]) == (b"mono", b"\0\0\0\1")
