"""AUC of every latent for every concept: the sparse pass, against one column at a time."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from monosemy.evaluation.probing.single import single


def twin(made, use):
    """Dense brute force, one latent and one concept at a time."""
    found = np.full((made.full.shape[1], made.has.shape[1]), np.nan)
    for latent in range(found.shape[0]):
        for concept in range(found.shape[1]):
            rows = use & ~made.unsure[:, concept]
            truth = made.has[rows, concept]
            if 0 < truth.sum() < len(truth):
                found[latent, concept] = roc_auc_score(truth, made.full[rows, latent])
    return found


@pytest.mark.parametrize("signed", [True, False])
def test_it_is_what_one_column_at_a_time_gives(drawn, signed):
    made = drawn(signed=signed)
    for use in (np.ones(400, dtype=bool), np.random.default_rng(1).random(400) < 0.5):
        found = single(made.code, made.labels, use)
        np.testing.assert_allclose(found.auc, twin(made, use), atol=1e-6)
        fired = (made.full[use] != 0).T.astype(int) @ made.has[use].astype(int)
        np.testing.assert_array_equal(found.fired, fired)


def test_a_planted_latent_has_an_auc_of_one_and_a_silent_one_of_a_half(drawn):
    made = drawn(signed=False)
    made.full[:, 3] = made.has[:, 2] * 2.0
    made.full[:, 4] = 0
    made.full[:, 5] = ~made.has[:, 2] * 1.0
    found = single(made.code, made.labels)
    assert found.auc[3, 2] == 1.0
    assert found.auc[5, 2] == 0.0
    assert (found.auc[4] == 0.5).all()
    # 0 and 1 tell equally much: the first of equal ones comes first.
    assert found.best(2)[2].tolist() == [3, 5]


def test_a_concept_that_no_token_has_is_not_a_number(drawn):
    made = drawn()
    made.has[:, 1] = False
    found = single(made.code, made.labels)
    assert np.isnan(found.auc[:, 1]).all()
    assert np.isfinite(found.auc[:, 0]).all()


def test_a_permuted_dictionary_gives_the_same(drawn):
    made, order = drawn(), np.random.default_rng(2).permutation(12)
    before = single(made.code, made.labels)
    made.full = made.full[:, order]
    after = single(made.code, made.labels)
    np.testing.assert_array_equal(after.auc, before.auc[order])
    np.testing.assert_array_equal(
        np.take_along_axis(after.auc, after.best(3).T, 0),
        np.take_along_axis(before.auc, before.best(3).T, 0),
    )


def test_columns_are_written_out(drawn):
    made = drawn()
    np.testing.assert_array_equal(made.code.columns(np.array([7, 2])), made.full[:, [7, 2]])
