import numpy as np
import pytest
from scipy import stats

from monosemy.data.features import chance

COUNT = 20_000


def drawn(function, seed: int = 1, number: int = 0) -> np.ndarray:
    state = np.empty(4, np.uint64)
    chance.begin(state, seed, number)
    return np.array([function(state) for _ in range(COUNT)])


def reference(state: list[int], count: int) -> list[float]:
    """xoshiro256++ in Python's whole numbers, after its authors' description."""
    mask, out, s = 2**64 - 1, [], list(state)

    def turned(x: int, k: int) -> int:
        return ((x << k) | (x >> (64 - k))) & mask

    for _ in range(count):
        out.append((((turned((s[0] + s[3]) & mask, 23) + s[0]) & mask) >> 11) / 2**53)
        t = (s[1] << 17) & mask
        s[2] ^= s[0]
        s[3] ^= s[1]
        s[1] ^= s[2]
        s[0] ^= s[3]
        s[2] ^= t
        s[3] = turned(s[3], 45)
    return out


def test_the_generator_is_the_one_that_is_named():
    state = np.array([1, 2, 3, 2**63 + 5], np.uint64)
    assert [chance.uniform(state) for _ in range(50)] == reference([1, 2, 3, 2**63 + 5], 50)


def test_samples_have_streams_of_their_own():
    begun = {
        tuple(drawn(chance.uniform, seed, number)[:2]) for seed in range(8) for number in range(8)
    }
    assert len(begun) == 64


@pytest.mark.parametrize("name", ["uniform", "normal"])
def test_numbers_have_their_distribution(name):
    numbers = drawn(getattr(chance, name))
    named = "norm" if name == "normal" else "uniform"
    assert stats.kstest(numbers, named).pvalue > 1e-4
    assert stats.kstest(numbers * 1.1, named).pvalue < 1e-4
    r = np.corrcoef(numbers[1:], numbers[:-1])[0, 1]
    assert abs(r) < 4 / COUNT**0.5


def test_first_numbers_of_neighbouring_samples_are_unrelated():
    state, first = np.empty(4, np.uint64), np.empty(COUNT)
    for number in range(COUNT):
        chance.begin(state, 12, number)
        first[number] = chance.uniform(state)
    assert stats.kstest(first, "uniform").pvalue > 1e-4
    assert abs(np.corrcoef(first[1:], first[:-1])[0, 1]) < 4 / COUNT**0.5


@pytest.mark.parametrize("count", [0, 1, 5, 6])
def test_normals_fill_what_they_are_given(count):
    state, out = np.empty(4, np.uint64), np.full(count, np.nan, np.float32)
    chance.begin(state, 0, 0)
    chance.normals(state, out)
    assert np.isfinite(out).all()


def test_pairs_of_normals_are_unrelated():
    state, out = np.empty(4, np.uint64), np.empty(2 * COUNT, np.float64)
    chance.begin(state, 5, 0)
    chance.normals(state, out)
    assert stats.kstest(out, "norm").pvalue > 1e-4
    assert abs(np.corrcoef(out[::2], out[1::2])[0, 1]) < 4 / COUNT**0.5


def test_below_is_the_normal_distribution_function():
    x = np.linspace(-9, 9, 37)
    np.testing.assert_allclose([chance.below(v) for v in x], stats.norm.cdf(x), rtol=1e-12)


def test_bounds_are_never_below_the_distribution_function():
    for x in np.linspace(-12, 9, 5000):
        step = chance.step_below(x)
        assert chance.BOUNDS[step + 1] >= min(stats.norm.cdf(x), chance.BOUNDS[-1])
        if x >= -10:
            assert chance.BOUNDS[step] <= stats.norm.cdf(x)


def test_the_table_and_the_function_decide_alike():
    draw = np.random.default_rng(0)
    x = draw.uniform(-4, 4, 20_000)
    lot = stats.norm.cdf(x) * (1 + 0.2 * draw.standard_normal(20_000))
    agreed = [
        chance.falls_below(u, v) == (u < stats.norm.cdf(v)) for u, v in zip(lot, x, strict=True)
    ]
    assert np.mean(agreed) == 1.0
