import pytest

from monosemy.reports import measures
from monosemy.reports.measures import COLUMNS, MEASURES, RANDOM_MODEL_NOTE, measure

# The names that an evaluation writes.
WRITTEN = {
    "l0", "explained_variance", "explained_variance_per_token", "explained_variance_uncentred",
    "cosine", "mse", "l2_ratio", "relative_reconstruction_bias", "dead_fraction",
    "dense_fraction", "ce_clean", "ce_spliced", "ce_zero", "ce_mean", "ce_recovered_zero",
    "ce_recovered_mean", "kl_recovered_zero", "kl_recovered_mean",
}  # fmt: skip


def test_every_measurement_has_its_words_once():
    names = [one.name for one in MEASURES]
    assert len(names) == len(set(names))
    assert set(names) == WRITTEN
    assert all(one.label and one.meaning for one in MEASURES)
    assert all(column.label and column.meaning for column in COLUMNS)


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("l0", 16.1234, "16.12"),
        ("dead_fraction", 0.0341, "3.4 %"),
        ("cosine", -0.25, "−0.250"),
        ("mse", 5.4, "5.40"),
        ("cosine", None, "–"),
    ],
)
def test_numbers_are_written_to_be_read(name, value, wanted):
    assert measures.written(measure(name), value) == wanted


def test_intervals_name_both_ends():
    found = {"value": 0.034, "low": 0.03, "high": 0.04}
    assert measures.interval(measure("cosine"), found) == "[0.030, 0.040]"
    assert measures.interval(measure("dead_fraction"), found, "{}–{}") == "3.0–4.0 %"
    assert measures.interval(measure("cosine"), {"value": 1.0, "low": None, "high": None}) == ""


def test_the_best_is_found_whichever_way_is_better(report):
    for name, wanted in (("cosine", "dictionary"), ("mse", "random"), ("l0", None)):
        assert measures.best(report, measure(name)) == wanted
    # Nearest to one, from either side.
    report["controls"]["pca"]["l2_ratio"]["value"] = 1.01
    assert measures.best(report, measure("l2_ratio")) == "pca"
    report["controls"]["pca"]["l2_ratio"]["value"] = 1.2
    assert measures.best(report, measure("l2_ratio")) == "dictionary"


def test_the_random_model_is_never_the_best(report):
    report["controls"]["random_model"]["cosine"]["value"] = 0.99
    assert measures.best(report, measure("cosine")) == "dictionary"
    report["controls"]["pca"]["cosine"]["value"] = 0.98
    assert measures.best(report, measure("cosine")) == "pca"
    column, value = measures.best_control(report, measure("cosine"))
    assert (column.name, value) == ("pca", 0.98)


def test_without_controls_nothing_is_best(bare):
    assert measures.best(bare, measure("cosine")) is None
    assert measures.best_control(bare, measure("cosine")) is None
    assert [column.name for column in measures.columns(bare)] == ["dictionary"]


def test_the_random_models_loss_says_that_it_does_not_compare(report):
    column = next(column for column in COLUMNS if column.name == "random_model")
    found = {"value": 0.5}
    assert measures.note(column, measure("ce_recovered_zero"), found) == RANDOM_MODEL_NOTE
    assert measures.note(column, measure("explained_variance"), found) == ""
    assert measures.note(COLUMNS[0], measure("ce_recovered_zero"), found) == ""
    own = {"value": 0.5, "note": "its own"}
    assert measures.note(column, measure("ce_recovered_zero"), own) == "its own"


def test_a_number_that_is_null_counts_as_not_measured(report):
    report["metrics"]["cosine"]["value"] = None
    assert measures.entry(report, COLUMNS[0], measure("cosine")) is None
