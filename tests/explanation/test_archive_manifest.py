import copy
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monosemy.explanation.archive import Archive
from monosemy.explanation.archive_manifest import LARGEST_MANIFEST, read_manifest
from monosemy.foundation.errors import UserError


def changed(archive, path, value):
    """The archive's manifest with the entry at `path` set, or left out where `value` is `...`."""
    manifest = copy.deepcopy(archive.manifest)
    place = manifest
    for key in path[:-1]:
        place = place[key]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    (archive.path / "archive.json").write_text(json.dumps(manifest))
    return archive.path


MAX = ("arrays", "column.max")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("format",), "other", "is not the manifest of a feature archive"),
        (("version",), 2, "format version 2, wanted 1; collect"),
        (("counts",), ..., "the manifest lacks counts"),
        (("counts",), [], "counts in the manifest is .*; wanted sizes by axis"),
        (("counts", "features"), 2**63, "counts.features .* wanted a whole number from 0 to 109"),
        (("counts", "features"), 4, "has shape .*3.*; wanted .*4"),
        (("counts", "features"), True, "counts.features in the manifest is true"),
        (("counts", "positions"), 2**17, "counts.positions .* from 0 to 65536"),
        (("counts", "featurs"), 3, "no axis .*; did you mean 'features'"),
        (
            ("counts", "rows"),
            ...,
            "counts in the manifest lacks rows, which examples.context needs",
        ),
        (("counts", "words"), 3, "counts.words is the size of no array"),
        (("radius",), 128, "radius in the manifest is 128; wanted a whole number from 0 to 127"),
        (("intervals",), 0, "intervals in the manifest is 0"),
        (("tokens",), -1, "tokens in the manifest is -1"),
        (("tokens",), 1.5, "tokens in the manifest is 1.5"),
        (("columns", "max"), {"label": 3}, 'columns."max" in the manifest'),
        (("columns", "max"), ..., "'max' has an array and no entry under columns"),
        (("relations", "encoder"), "cosine", 'relations."encoder" is described and has no array'),
        (("relations", "decoder"), 3, "is not a sentence"),
        (("flags",), [{"name": "dead"}], "flags in the manifest"),
        (("flags",), [{"name": "a", "rule": "b"}] * 2, "different names"),
        (("provenance",), "me", 'provenance in the manifest is "me"; wanted an object'),
        (("arrays", "corpus.evil"), {}, 'lists "corpus.evil", which is no array'),
        (("arrays", "../../x"), {}, "which is no array"),
        (
            (*MAX, "file"),
            "../../etc/passwd",
            "is said to lie in .*; wanted 'arrays/column.max.bin'",
        ),
        ((*MAX, "file"), "arrays/../../x.bin", "is said to lie in"),
        ((*MAX, "dtype"), "f64", 'column.max has dtype "f64"; wanted f32'),
        ((*MAX, "dtype"), "object", "column.max has dtype"),
        ((*MAX, "dtype"), ["f32"], "column.max has dtype"),
        ((*MAX, "shape"), [2**62], "column.max has shape"),
        ((*MAX, "bytes"), 10**30, "column.max is said to have 10+ bytes; its shape makes 12"),
        ((*MAX, "sha256"), "zz", "64 hexadecimal digits"),
        ((*MAX, "sha256"), ..., "wanted file, dtype, shape, bytes, sha256"),
        (("arrays", "histogram.range"), ..., "lacks histogram.range, which belongs to histogram"),
        (("arrays", "profile.token_ids"), ..., "lacks profile.token_ids, which belongs to"),
    ],
)
def test_a_hostile_manifest_is_refused(tiny, path, value, message):
    Archive.open(tiny.path)
    with pytest.raises(UserError, match=message):
        Archive.open(changed(tiny, path, value))


def test_all_faults_come_at_once(tiny):
    changed(tiny, ("radius",), -1)
    tiny.manifest["radius"] = -1
    with pytest.raises(UserError, match="2 problems"):
        Archive.open(changed(tiny, ("intervals",), 999))


@pytest.mark.parametrize("text", ["", "[]", "{", "nul", '{"format": 1}', "[" * 100_000])
def test_no_manifest_is_refused(tiny, text):
    (tiny.path / "archive.json").write_text(text)
    with pytest.raises(UserError, match="archive"):
        Archive.open(tiny.path)


def test_a_huge_manifest_is_not_read(tiny):
    with open(tiny.path / "archive.json", "ab") as file:
        file.truncate(LARGEST_MANIFEST + 1)
    with pytest.raises(UserError, match="has at most 16,777,216"):
        Archive.open(tiny.path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=5,
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_anything_anywhere_is_refused_or_harmless(tiny, data):
    """Whatever stands at one place, opening raises `UserError` and nothing else, or still works."""
    path = [data.draw(st.sampled_from(sorted(tiny.manifest)))]
    place = tiny.manifest[path[0]]
    while isinstance(place, dict) and place and data.draw(st.booleans()):
        path.append(data.draw(st.sampled_from(sorted(place))))
        place = place[path[-1]]
    folder = changed(tiny, path, data.draw(JSON))
    try:
        archive = Archive.open(folder)
    except UserError:
        return
    archive.feature(0)
    archive.examples(0)


def test_the_hash_is_of_the_bytes(tiny):
    manifest, digest = read_manifest(tiny.path)
    assert (manifest, digest) == (tiny.manifest, tiny.hash)
    other = read_manifest(changed(tiny, ("provenance", "seed"), 1))[1]
    assert other != tiny.hash
