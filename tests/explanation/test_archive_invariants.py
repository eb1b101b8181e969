import hashlib
import json

import numpy as np
import pytest

from monosemy.explanation.archive import Archive
from monosemy.explanation.archive_layout import DTYPES
from monosemy.foundation.errors import UserError


def tampered(archive, name, values):
    """The archive with other numbers in one array, and a manifest whose sum agrees."""
    entry = archive.manifest["arrays"][name]
    data = np.array(values, DTYPES[entry["dtype"]]).tobytes()
    assert len(data) == entry["bytes"]
    (archive.path / entry["file"]).write_bytes(data)
    entry["sha256"] = hashlib.sha256(data).hexdigest()
    (archive.path / "archive.json").write_text(json.dumps(archive.manifest))
    return Archive.open(archive.path)


NAN = float("nan")


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("corpus.ids", [[0, 1, 2, 0], [2, 3, 4, 0]], "corpus.ids.bin holds 4 of 4 vocabulary"),
        (
            "corpus.names_start",
            [0, 8, 7],
            "names_start.bin does not begin at 0, rise, and end at 7",
        ),
        ("corpus.vocabulary_start", [0, 1, 4, 6, 9], "vocabulary_start.bin does not begin"),
        ("corpus.run_start", [1, 5, 6], "run_start.bin does not begin at 0 and rise"),
        ("corpus.run_start", [0, 6, 5], "run_start.bin does not begin at 0 and rise"),
        ("corpus.run_document", [0, 1, 2], "run_document.bin holds 2 of 2 documents"),
        ("examples.first", [0, 3, 2, 3], "examples.first.bin does not begin at 0, rise"),
        ("examples.first", [0, 2, 2, 4], "examples.first.bin does not begin at 0, rise"),
        ("examples.first_value", [0, 2, 2, 5], "nonzeros.bin does not add up"),
        ("examples.nonzeros", [3, 1, 2], "nonzeros.bin does not add up"),
        ("examples.context", [0, 1, 2], "examples.context.bin holds 2 of 2 contexts"),
        ("examples.peak", [4, 3, 0], "examples.peak.bin holds 4 of 4 positions"),
        ("examples.position", [0, 1, 1, 0, 2], "position.bin leaves its windows or does not rise"),
        ("examples.position", [1, 0, 1, 0, 1], "position.bin leaves its windows or does not rise"),
        ("column.parent", [-1, 0, 3], "column.parent.bin holds 3 of 3 features"),
        (
            "neighbours.decoder.feature",
            [[3], [0], [0]],
            "decoder.feature.bin holds 3 of 3 features",
        ),
        ("profile.token_ids", [[4, 0], [9, 9], [1, 9]], "token_ids.bin holds 4 of 4 vocabulary"),
        ("tokens.first", [0, 0, 1, 2, 3], "tokens.first.bin does not begin"),
        ("tokens.feature", [2, 3], "tokens.feature.bin holds 3 of 3 features"),
    ],
)
def test_what_cannot_be_is_named(tiny, name, values, message):
    tiny.verify()
    archive = tampered(tiny, name, values)
    with pytest.raises(UserError, match=message):
        archive.verify()


@pytest.mark.parametrize(
    ("name", "values", "ask"),
    [
        ("corpus.ids", [[0, 1, 9, 0], [2, 3, 1, 0]], lambda a: a.examples(0)),
        ("corpus.run_document", [7, 1, 1], lambda a: a.examples(0)),
        ("corpus.names_start", [0, 3, 2**31], lambda a: a.examples(0)),
        ("corpus.vocabulary_start", [0, 9, 4, 6, 8], lambda a: a.text(0)),
        ("examples.first", [0, 2**32 - 1, 2, 3], lambda a: a.examples(0)),
        ("examples.first_value", [0, 2**32 - 1, 3, 5], lambda a: a.examples(0)),
        ("examples.nonzeros", [255, 1, 2], lambda a: a.examples(0)),
        ("examples.context", [999, 1, 1], lambda a: a.examples(0)),
        ("examples.peak", [255, 3, 0], lambda a: a.examples(0)),
        ("examples.position", [0, 255, 1, 0, 1], lambda a: a.examples(0)),
        ("examples.value", [NAN, 2, 1, -0.25, 3], lambda a: a.examples(0)),
        ("column.parent", [77, 0, 0], lambda a: a.feature(0)),
        ("neighbours.decoder.feature", [[9], [0], [0]], lambda a: a.feature(0)),
        ("profile.token_ids", [[9, 0], [9, 9], [1, 9]], lambda a: a.feature(0)),
        ("tokens.first", [0, 9, 1, 2, 2], lambda a: a.token_features(0)),
        ("tokens.feature", [9, 9], lambda a: a.token_features(1)),
    ],
)
def test_no_read_leaves_its_array(tiny, name, values, ask):
    """Without `verify`, whatever leads out of an array is refused where it is met."""
    ask(tiny)
    archive = tampered(tiny, name, values)
    with pytest.raises(UserError, match=f"arrays/{name}.bin: .*the archive is damaged"):
        ask(archive)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("neighbours.decoder.feature", [[2], [999], [0]]),  # its value is NaN
        ("profile.token_ids", [[2, 0], [99, 99], [1, 99]]),  # its share is 0
        ("histogram.range", [np.inf, NAN, -1]),
        ("column.own", [np.inf, NAN, 0]),
        ("neighbours.decoder.value", [[np.inf], [NAN], [0.5]]),
    ],
)
def test_empty_places_and_odd_numbers_are_harmless(tiny, name, values):
    archive = tampered(tiny, name, values)
    for feature in range(3):
        json.dumps(archive.feature(feature).to_json(), allow_nan=False)


def test_a_synthetic_archive_holds_them_all(synthetic):
    synthetic.verify()
