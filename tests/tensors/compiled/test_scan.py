import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from monosemy.tensors.compiled import scan

TYPES = [np.float32, np.float64]


def _numbers(dtype, least=1):
    width = 8 * np.dtype(dtype).itemsize
    few = st.sampled_from([0.0, 1.0, 2.0, -1.0])  # many equal ones
    number = st.one_of(few, st.floats(allow_nan=False, width=width))
    return arrays.arrays(dtype, st.integers(least, 200), elements=number)


def _keys(values):
    keys = np.empty(len(values), np.int32 if values.dtype == np.float32 else np.int64)
    scan.ranked(values, len(values), keys)
    return keys


@pytest.mark.parametrize("dtype", TYPES)
def test_keys_are_in_the_order_of_the_numbers(dtype):
    @settings(max_examples=60, deadline=None)
    @given(values=_numbers(dtype))
    def check(values):
        keys = _keys(values)
        ordered = values[np.argsort(keys, kind="stable")]
        assert (ordered[:-1] <= ordered[1:]).all()
        # Equal numbers have equal keys, but for the two zeros.
        values = values + dtype(0)
        for number in np.unique(values):
            assert len(np.unique(_keys(values)[values == number])) == 1

    check()


@pytest.mark.parametrize("dtype", TYPES)
def test_compacting_keeps_the_largest_in_their_order_and_of_equal_ones_the_first(dtype):
    # What is compacted is positive, or a proposal (float32 then, and of either sign).
    @settings(max_examples=100, deadline=None)
    @given(values=_numbers(dtype, 2), share=st.floats(0, 1))
    def check(values, share):
        values = values + dtype(0) if dtype == np.float32 else np.abs(values)
        n = len(values)
        k = min(n - 1, 1 + int(share * n))
        best = np.sort(np.argsort(-values, kind="stable")[:k])
        kept, places = values.copy(), np.arange(n, dtype=np.int32)
        least = scan.compact(kept, places, n, k, _keys(values))
        assert places[:k].tolist() == best.tolist()
        assert (kept[:k] == values[best]).all()
        assert least == values[best].min()

    check()


@pytest.mark.parametrize("dtype", TYPES)
def test_a_split_has_k_above_it_or_says_how_many_more(dtype):
    @settings(max_examples=60, deadline=None)
    @given(values=_numbers(dtype, 2), share=st.floats(0, 1))
    def check(values, share):
        keys = _keys(np.abs(values))
        k = min(len(keys), 1 + int(share * len(keys)))
        cut, more = scan.split(keys, len(keys), k)
        above = keys[keys > cut]
        assert len(above) == k + more
        assert more < max((above == above.min()).sum(), 1)

    check()


def test_bits_of_bfloat16_are_read_as_torch_reads_them():
    every = torch.arange(-(2**15), 2**15).to(torch.int16)
    wanted = every.view(torch.bfloat16).float()
    ordinary = ~wanted.isnan()
    # A row of ones; what lies above the floor of minus infinity comes back with its value.
    tile, bias = every[ordinary].numpy()[None], np.zeros(int(ordinary.sum()), np.float32)
    n = tile.shape[1]
    out = np.empty(n + 64, np.float32), np.empty(n + 64, np.int32), np.empty(n + 64, np.int32)
    floor = np.full(n, -np.inf, np.float32)
    row, filled = scan.above(tile, bias, 0, 0, floor, np.zeros(1, np.float32), *out, 0, 0)
    assert row == 1
    found = torch.full((n,), -torch.inf)
    found[torch.from_numpy(out[1][:filled]).long()] = torch.from_numpy(out[0][:filled])
    assert torch.equal(found, wanted[ordinary])


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), k=st.integers(1, 20), strange=st.sampled_from([0, 1, 2]))
def test_at_least_k_entries_lie_above_the_first_bound(seed, k, strange):
    groups = 64 * -(-4 * k // 64)
    row = np.random.default_rng(seed).normal(size=3 * groups + 5).astype(np.float32)
    if strange == 1:
        row[np.arange(len(row)) % groups >= k] = -np.inf
    if strange == 2:
        row = np.round(row)
    tops, box = np.empty(groups, np.float32), np.empty(1, np.float32)
    keys = np.empty(groups, np.int32)
    bound = scan._bound(row, np.zeros(len(row), np.float32), k, tops, keys, box)
    assert (row > bound).sum() >= k
    assert strange or (row > bound).sum() < len(row) / 2, "it does dismiss many"


def test_a_row_of_minus_infinity_keeps_what_little_there_is():
    """The bound of a row with too few real entries is no number, and must not hide them."""
    tile = np.full((1, 300), -np.inf, np.float32)
    tile[0, [3, 200]] = 1.0, 2.0
    values, indices = np.empty((1, 96), np.float32), np.empty((1, 96), np.int32)
    counts, floors = np.zeros(1, np.int64), np.zeros(1, np.float32)
    scan.largest(tile, np.zeros(300, np.float32), 0, 0, values, indices, counts, floors, 8)
    assert counts.tolist() == [2]
    assert indices[0, :2].tolist() == [3, 200]
    assert values[0, :2].tolist() == [1.0, 2.0]
