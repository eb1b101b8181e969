"""Outcomes by document, and their intervals."""

import numpy as np
import pytest
from sklearn.metrics import f1_score, roc_auc_score

from monosemy.evaluation.probing.outcomes import Measured, Outcome, interval


@pytest.fixture
def outcome():
    draw = np.random.default_rng(0)
    fold_of = np.arange(12) % 3
    found, tokens = Outcome(fold_of, 2), []
    for concept in range(2):
        for fold in range(3):
            document = draw.choice(np.flatnonzero(fold_of == fold), 200)
            positive = draw.random(200) < 0.3
            # Each fold's scores stand at another height: only those of one fold compare.
            scores = positive + draw.normal(size=200) + 10 * fold
            found.add(concept, scores, positive, 0.5 + 10 * fold, document)
            tokens.append((concept, scores - 10 * fold, positive))
    return found, tokens


def test_values_are_those_of_all_tested_tokens(outcome):
    found, tokens = outcome
    for concept in range(2):
        mine = [one for one in tokens if one[0] == concept]
        scores, positive = (np.concatenate([one[i] for one in mine]) for i in (1, 2))
        values = found.values()
        assert values["f1"][concept] == pytest.approx(f1_score(positive, scores > 0.5))
        assert values["accuracy"][concept] == pytest.approx(((scores > 0.5) == positive).mean())
        aucs = [roc_auc_score(p, s) for _, s, p in mine]
        pairs = [p.sum() * (~p).sum() for _, _, p in mine]
        assert values["auc"][concept] == pytest.approx(np.average(aucs, weights=pairs))


def test_draws_lie_around_the_values_and_repeat(outcome):
    found, _ = outcome
    measured, again = Measured.of(found, 3), Measured.of(found, 3)
    for name, values in measured.values.items():
        drawn = measured.draws[name]
        np.testing.assert_array_equal(drawn, again.draws[name])
        assert (np.abs(np.nanmean(drawn, 0) - values) < 0.02).all()
        for concept in range(2):
            one = measured.of_concept(concept)[name]
            assert one.low < one.value < one.high


def test_the_same_less_itself_is_nothing(outcome):
    measured = Measured.of(outcome[0], 0)
    for one in measured.above(measured, np.arange(2)).values():
        assert (one.value, one.low, one.high) == (0, 0, 0)


def test_what_is_not_defined_says_so():
    assert interval(float("nan"), np.full(9, np.nan)).value is None
    assert interval(0.5, np.full(9, np.nan)).low is None
