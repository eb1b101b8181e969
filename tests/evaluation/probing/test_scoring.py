"""AUC, thresholds and steps, by brute force."""

import numpy as np
import pytest
import scipy.sparse
from sklearn.metrics import f1_score, roc_auc_score

from monosemy.evaluation.probing.scoring import (
    BINS,
    auc,
    best_threshold,
    column_aucs,
    concordance,
    stairs,
)


@pytest.fixture
def scored():
    draw = np.random.default_rng(0)
    return np.round(draw.normal(size=300), 1), draw.random(300) < 0.2


def test_auc_is_that_of_scikit_learn(scored):
    assert auc(*scored) == pytest.approx(roc_auc_score(scored[1], scored[0]))
    assert np.isnan(auc(scored[0], np.zeros(300, dtype=bool)))


def test_columns_leave_out_what_is_unsure(scored):
    scores, positive = scored
    unsure = ~positive & (np.arange(300) % 3 == 0)
    labels = tuple(scipy.sparse.csr_array(one[:, None]) for one in (positive, unsure))
    found = column_aucs(scores[:, None], labels)
    assert found[0] == pytest.approx(roc_auc_score(positive[~unsure], scores[~unsure]))


def test_the_threshold_has_the_best_f1(scored):
    scores, positive = scored
    threshold = best_threshold(scores, positive)
    tried = [f1_score(positive, scores > cut) for cut in np.append(np.unique(scores), -np.inf)]
    assert f1_score(positive, scores > threshold) == pytest.approx(max(tried))


def test_a_score_that_tells_all_has_a_threshold_between():
    assert best_threshold(np.array([0.0, 0, 2, 2]), np.array([False, False, True, True])) == 1.0
    assert best_threshold(np.array([1.0, 1]), np.array([True, True])) == -np.inf


def test_steps_keep_every_token_and_nearly_the_auc(scored):
    scores, positive = scored
    document = np.arange(300) % 7
    ups, downs = stairs(scores, positive, document, 7)
    assert ups.shape == (7, BINS)
    assert ups.sum() == positive.sum()
    assert downs.sum() == (~positive).sum()
    assert (ups.sum(1) == np.bincount(document[positive], minlength=7)).all()
    ups, downs = ups.sum(0), downs.sum(0)
    stepped = (ups * (downs.cumsum() - downs / 2)).sum() / (ups.sum() * downs.sum())
    shared = (ups * downs).sum() / (ups.sum() * downs.sum())
    assert abs(stepped - auc(scores, positive)) <= shared / 2
    assert concordance(scores, positive)[1] == ups.sum() * downs.sum()
