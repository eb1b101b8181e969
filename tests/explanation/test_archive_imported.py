import pytest

from monosemy.explanation.archive_imported import Imported, Row, group_of
from monosemy.foundation.errors import UserError


@pytest.mark.parametrize(
    ("bounds", "largest", "group"),
    [
        ((-1, -1, -1), 5.0, 0),
        ((None, None, None), 5.0, 0),
        ((4.5, 5.0, 0.1), 5.0, 10),
        ((0.0, 0.5, 0.9), 5.0, 1),
        ((2.0, 2.5, None), 5.0, 5),
        ((0.0, 5.0, 1), 5.0, 254),
        ((0.0, 1.0, 1), 0.0, 0),
    ],
)
def test_groups(bounds, largest, group):
    assert group_of(bounds, largest) == group


def test_long_rows_and_histograms_of_several_lengths(tmp_path):
    gathered = Imported({"model": "m"})
    gathered.add_feature(
        0, [("a", 1.0)], [], largest=3.0, density=0.5, histogram=(0.5, 0.25, [1, 2, 3])
    )
    gathered.add_feature(
        2, [], [("b", -1.0), ("a", -0.5)], largest=2.0, density=0.0, histogram=(0.0, 1.0, [4])
    )
    values = [0.0] * 400
    values[0], values[250], values[399] = 1.0, 3.0, 2.0
    words = tuple(f"w{i}" for i in range(400))
    gathered.add_example(0, Row(words, values, 250, (-1, -1, -1), "x"))
    gathered.add_example(2, Row(("a", "b"), [0.0, 2.0], 1, (-1, -1, -1), "y"))
    archive = gathered.write(tmp_path / "archive")
    archive.verify()
    (long,), (short,) = archive.examples(0), archive.examples(2)
    assert (long.ids[0], long.tokens[0], long.value) == (
        archive.arrays["corpus.ids"][0, 123],
        "w123",
        3.0,
    )
    assert sum(long.activations) == 3.0  # what lies 150 tokens away is not stored
    assert (short.tokens, short.activations, short.document) == (["a", "b"], [0.0, 2.0], "y")
    assert archive.feature(0).histogram.edges == [0.5, 0.75, 1.0, 1.25]
    assert archive.feature(0).histogram.counts == [1, 2, 3]
    assert archive.feature(2).histogram.counts == [4]
    assert archive.feature(2).histogram.edges == [0.0, 1.0]
    assert [row[1:] for row in archive.feature(2).lowered] == [("b", -1.0), ("a", -0.5)]
    assert archive.feature(2).flags == ["dead"]
    assert archive.feature(1).statistics["density"] is None


def test_nothing_is_no_archive(tmp_path):
    with pytest.raises(UserError, match="nothing to import: 0 features"):
        Imported({}).write(tmp_path)
