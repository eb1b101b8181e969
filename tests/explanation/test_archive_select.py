import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monosemy.explanation.archive_select import select
from monosemy.foundation.errors import UserError

FLAGS = ["dead", "dense", "other"]
NUMBERS = [0.0, -0.0, 1.0, 1.0, -2.5, float("nan"), 3e38, -1e-40, float("inf"), float("-inf")]
COUNTS = [0, 1, 5, 2**32 - 1]
WHOLE = [-1, 0, 3, -(2**31), 2**31 - 1]


def brute(columns, size, filters, sort, descending, wanted, unwanted, among):
    """One feature after the other, as the sentences say."""
    ids = list(range(size)) if among is None else [i for i in among if 0 <= i < size]
    if sort is not None:
        ids = sorted(set(ids))
    passing = []
    for i in ids:
        good = True
        for name, (low, high) in filters.items():
            value = float(columns[name][i])
            good &= (
                value == value and (low is None or value >= low) and (high is None or value <= high)
            )
        bits = int(columns["flags"][i])
        good &= all(bits >> FLAGS.index(name) & 1 for name in wanted)
        good &= not any(bits >> FLAGS.index(name) & 1 for name in unwanted)
        if good:
            passing.append(i)
    if sort is not None:

        def key(i):
            value = float(columns[sort][i])
            missing = value != value
            return (missing, 0.0 if missing else (-value if descending else value), i)

        passing.sort(key=key)
    return passing


@st.composite
def tables(draw):
    size = draw(st.integers(0, 12))
    some = lambda values: draw(st.lists(st.sampled_from(values), min_size=size, max_size=size))  # noqa: E731
    return {
        "a": np.array(some(NUMBERS), "<f4"),
        "b": np.array(some(COUNTS), "<u4"),
        "c": np.array(some(WHOLE), "<i4"),
        "flags": np.array(some([0, 1, 2, 3, 6]), "<u4"),
    }


bound = st.sampled_from([None, 0.0, 1.0, -1.0, 1e10])


@settings(max_examples=300, deadline=None)
@given(
    columns=tables(),
    filters=st.dictionaries(st.sampled_from("abc"), st.tuples(bound, bound), max_size=2),
    sort=st.sampled_from([None, "a", "b", "c", "flags"]),
    descending=st.booleans(),
    offset=st.integers(0, 5),
    limit=st.none() | st.integers(0, 5),
    wanted=st.lists(st.sampled_from(FLAGS), max_size=2),
    unwanted=st.lists(st.sampled_from(FLAGS), max_size=2),
    among=st.none() | st.lists(st.integers(-2, 14), max_size=6),
)
def test_it_is_what_looking_at_each_gives(
    columns, filters, sort, descending, offset, limit, wanted, unwanted, among
):
    size = len(columns["a"])
    total, ids = select(
        columns.__getitem__, FLAGS, size, filters, sort, descending, offset, limit, wanted,
        unwanted, among,
    )  # fmt: skip
    expected = brute(columns, size, filters, sort, descending, wanted, unwanted, among)
    stop = None if limit is None else offset + limit
    assert total == len(expected)
    assert ids.tolist() == expected[offset:stop]


def test_the_archive_asks_it(synthetic):
    total, ids = synthetic.select(
        {"density": (1e-3, None)}, sort="max", limit=7, unwanted=["dead"], among=range(100)
    )
    density, largest = synthetic.column("density")[:100], synthetic.column("max")[:100]
    passing = np.flatnonzero((density >= 1e-3) & (largest > 0))
    order = passing[np.lexsort((passing, -largest[passing]))]
    assert (total, ids.tolist()) == (len(passing), order[:7].tolist())
    assert 0 < total < 100
    everything = synthetic.select(sort="max", limit=None)[1]
    pages = [synthetic.select(sort="max", offset=at, limit=64)[1] for at in range(0, 120, 64)]
    assert np.concatenate(pages).tolist() == everything.tolist()


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"sort": "densty"}, "no column 'densty'"),
        ({"filters": {"x": (0, 1)}}, "no column 'x'"),
        ({"wanted": ["deaf"]}, "no flag 'deaf'.*did you mean 'dead'"),
        ({"offset": -1}, "offset is -1"),
    ],
)
def test_what_is_not_there_is_refused(synthetic, how, message):
    with pytest.raises(UserError, match=message):
        synthetic.select(**how)
