import numpy as np
import pytest
from scipy import stats

from monosemy.evaluation import results
from monosemy.evaluation.results import Estimate, Metric, estimate, table

DRAW = np.random.default_rng(0)
SUMS = {"above": DRAW.gamma(2, size=12), "below": DRAW.gamma(9, size=12)}
RATIO = Metric(lambda t: t["above"] / t["below"])


def _ratio(above, below, metric=RATIO):
    return estimate({"above": np.array(above), "below": np.array(below)}, {"it": metric}, 0)["it"]


def test_the_interval_is_that_of_scipy():
    def ratio(index, axis=-1):
        return SUMS["above"][index].sum(axis) / SUMS["below"][index].sum(axis)

    reference = stats.bootstrap(
        (np.arange(12),), ratio, n_resamples=2_000, confidence_level=0.95, method="percentile",
        rng=np.random.default_rng(5),
    ).confidence_interval  # fmt: skip
    found = estimate(SUMS, {"ratio": RATIO}, seed=5)["ratio"]
    assert found.value == pytest.approx(ratio(np.arange(12)))
    assert (found.low, found.high) == pytest.approx((reference.low, reference.high))
    other = estimate(SUMS, {"ratio": RATIO}, seed=6)["ratio"]
    assert (other.low, other.high) != (found.low, found.high)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    """The mean of 40 exponential draws is 1; a percentile interval covers it in 92 % or so."""
    draw = np.random.default_rng(1)
    mean = {"mean": Metric(lambda t: t["x"] / t["n"])}
    covered = 0
    for seed in range(100):
        sums = {"x": draw.exponential(size=40), "n": np.ones(40)}
        found = estimate(sums, mean, seed)["mean"]
        covered += found.low <= 1 <= found.high
    assert 84 <= covered <= 99


def test_documents_are_drawn_not_tokens():
    """The same tokens in fewer, purer documents: the interval is wider."""
    tokens = np.repeat([0.0, 1.0], 500)
    mean = {"mean": Metric(lambda t: t["x"] / t["n"])}

    def width(documents):
        parts = np.array_split(tokens, documents)
        sums = {
            "x": np.array([part.sum() for part in parts]),
            "n": np.array([len(part) for part in parts]),
        }
        found = estimate(sums, mean, 0)["mean"]
        assert found.value == 0.5
        return found.high - found.low

    assert width(10) > 5 * width(1000)


@pytest.mark.parametrize("entries", [7, 100, 10**6])
def test_resamples_come_in_blocks_that_change_nothing(monkeypatch, entries):
    whole = np.concatenate(list(results.resamples(7, 3)))
    assert whole.shape == (results.RESAMPLES, 7)
    assert (whole.sum(1) == 7).all()
    monkeypatch.setattr(results, "_ENTRIES", entries)
    blocks = list(results.resamples(7, 3))
    assert max(len(block) for block in blocks) == min(entries // 7, results.RESAMPLES)
    assert np.array_equal(np.concatenate(blocks), whole)


def test_vector_sums_are_weighted_too():
    vectors = DRAW.normal(size=(6, 3))
    length = {"length": Metric(lambda t: np.square(t["v"]).sum(-1))}
    found = estimate({"v": vectors}, length, 0)["length"]
    assert found.value == pytest.approx((vectors.sum(0) ** 2).sum())
    assert found.low < found.high


def test_one_document_has_no_interval():
    found = _ratio([3.0], [4.0])
    assert found == Estimate(0.75, None, None, "one document: no interval can be given")


def test_an_undefined_number_is_null_and_says_why():
    found = _ratio([0.0, 0.0], [0.0, 0.0], Metric(RATIO.formula, "nothing below"))
    assert found == Estimate(None, None, None, "nothing below")
    assert found.to_json() == {"value": None, "low": None, "high": None, "note": "nothing below"}


def test_an_interval_that_some_resamples_leave_undefined_is_not_given():
    found = _ratio([1.0, 1.0], [0.0, 2.0], Metric(RATIO.formula, "nothing below"))
    assert found.value == 1.0
    assert (found.low, found.high) == (None, None)
    assert found.note.startswith("no interval: in 2")  # a quarter of the resamples
    assert found.note.endswith("% of the resamples it is undefined (nothing below)")


def test_json_form():
    assert Estimate(0.5, 0.4, 0.6).to_json() == {"value": 0.5, "low": 0.4, "high": 0.6}


def test_text_form():
    assert str(Estimate(0.98642, 0.98, 0.99)) == "0.9864 [0.9800, 0.9900]"
    assert str(Estimate(12345.6)) == "1.235e+04"
    assert str(Estimate(1.5e-5)) == "1.5e-05"
    assert str(Estimate(0.0)) == "0.0000"
    assert str(Estimate(None, note="why")) == "–"


def test_a_table_puts_columns_side_by_side():
    a, b, c = Estimate(1.0), Estimate(2.0), Estimate(3.0)
    found = table({"ours": {"l0": a, "mse": b}, "pca": {"mse": c}})
    assert found.columns == ("ours", "pca")
    assert found.rows == (("l0", (a, None)), ("mse", (b, c)))
    assert found.lines() == [
        "     ours    pca",
        "l0   1.0000",
        "mse  2.0000  3.0000",
    ]


def test_large_sums_are_drawn_in_pieces_that_change_nothing(monkeypatch):
    draw = np.random.default_rng(0)
    sums = {"a": draw.random((30, 50)), "b": draw.random(30) + 1}
    metrics = {"ratio": Metric(lambda t: t["a"].mean(-1) / t["b"])}
    whole = estimate(sums, metrics, 1)
    seen = []
    monkeypatch.setattr(results, "_ENTRIES", 1000)
    watched = {"ratio": Metric(lambda t: seen.append(len(t["b"])) or metrics["ratio"].formula(t))}
    pieces = estimate(sums, watched, 1)
    assert max(seen) <= 1000 // 50 + 1
    assert pieces["ratio"].low == pytest.approx(whole["ratio"].low, abs=1e-12)
    assert pieces["ratio"].high == pytest.approx(whole["ratio"].high, abs=1e-12)
