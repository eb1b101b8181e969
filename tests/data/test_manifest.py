import json

import pytest

from monosemy.data.manifest import MANIFEST, Manifest, Settings
from monosemy.foundation.errors import UserError

SETTINGS = Settings(
    model="tiny",
    model_fingerprint="f00d",
    sites={"a": 3},
    dtype="float32",
    group=8,
    contexts=10,
    context_length=16,
    contexts_fingerprint="beef",
    tokens=101,
    tokens_per_shard=50,
    origin=None,
)
RECORD = {"bytes": 1, "sha256": "00"}


@pytest.fixture
def value(tmp_path):
    """A good manifest, as JSON; `check` writes a changed one and reads it."""
    Manifest(SETTINGS, {"documents.json": RECORD}).write(tmp_path)
    return json.loads((tmp_path / MANIFEST).read_text())


def read(folder, value):
    (folder / MANIFEST).write_text(json.dumps(value))
    return Manifest.read(folder)


def test_round_trip(tmp_path, value):
    assert read(tmp_path, value) == Manifest(SETTINGS, {"documents.json": RECORD})


def test_bounds_cover_every_row_once():
    assert SETTINGS.shards == 3
    assert [SETTINGS.bounds(shard) for shard in range(3)] == [(0, 50), (50, 100), (100, 101)]
    assert SETTINGS.files()[2:] == [f"shard-0000{i}.safetensors" for i in range(3)]


def test_another_format_or_version_is_refused(tmp_path, value):
    with pytest.raises(UserError, match="is not a manifest of activation shards"):
        read(tmp_path, {"format": "other"})
    with pytest.raises(UserError, match="is not a manifest of activation shards"):
        read(tmp_path, [1])
    with pytest.raises(UserError, match="format version 2, wanted 1; capture"):
        read(tmp_path, value | {"version": 2})


def test_missing_keys_are_named(tmp_path, value):
    del value["tokens"], value["files"]
    with pytest.raises(UserError, match="the manifest lacks tokens, files"):
        read(tmp_path, value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"group": 0}, "group in the manifest is 0; wanted a whole number above 0"),
        ({"tokens": "many"}, "tokens in the manifest is 'many'; wanted a whole number"),
        ({"contexts": True}, "contexts in the manifest is True; wanted a whole number"),
        ({"dtype": "int8"}, "dtype in the manifest is 'int8'; wanted float32"),
        ({"sites": {}}, "sites in the manifest is {}; wanted site names"),
        ({"sites": {"a": -3}}, "sites in the manifest is {'a': -3}; wanted site names"),
        ({"origin": {"corpus": "x"}}, "origin in the manifest is {'corpus': 'x'}; wanted null"),
        ({"files": []}, r"files in the manifest is \[\]; wanted file names and sums"),
        ({"files": {"../x": RECORD}}, "lists '../x', which is no file of this folder"),
        (
            {"files": {"documents.json": {}}},
            "documents.json in the manifest is {}; wanted its bytes",
        ),
    ],
)
def test_faults_are_named(tmp_path, value, change, message):
    with pytest.raises(UserError, match=message):
        read(tmp_path, value | change)


def test_all_faults_come_at_once(tmp_path, value):
    with pytest.raises(UserError, match="2 problems"):
        read(tmp_path, value | {"group": 0, "dtype": "int8"})


def test_truncated_manifest_is_refused(tmp_path, value):
    (tmp_path / MANIFEST).write_text(json.dumps(value)[:-20])
    with pytest.raises(
        UserError, match="manifest of the activation shards at .* is not valid JSON"
    ):
        Manifest.read(tmp_path)
