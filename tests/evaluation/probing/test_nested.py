"""Nested probes: planted latents are found, nulls are nulls, overlapping splits would leak."""

import numpy as np
import pytest

from monosemy.evaluation.probing.nested import probe
from monosemy.evaluation.probing.outcomes import Measured
from monosemy.foundation.errors import UserError


def test_a_planted_latent_is_found_and_is_perfect(drawn):
    made = drawn(signed=False)
    made.full[:, 7] = made.has[:, 2] * 1.5
    found = probe(made.code, made.truth, (1, 2, 5))
    assert (found.chosen[:, 2, 0] == 7).all()
    assert found.rising[:, 2].all()
    for outcome in found.outcomes.values():
        values = outcome.values()
        assert values["auc"][2] == values["f1"][2] == values["accuracy"][2] == 1.0
        assert values["auc"][0] < 0.65


def test_a_latent_that_speaks_against_is_used_the_other_way(drawn):
    made = drawn(signed=False)
    made.full[:, 7] = ~made.has[:, 2] * 1.5
    made.unsure[:] = False
    found = probe(made.code, made.truth, (1,))
    assert not found.rising[:, 2].any()
    assert found.outcomes[1].values()["auc"][2] == 1.0


def test_two_latents_tell_what_one_cannot(drawn):
    made = drawn(tokens=1200, signed=False)
    made.full[:, 3] = made.has[:, 1] & (np.arange(1200) % 2 == 0)
    made.full[:, 4] = made.has[:, 1] & (np.arange(1200) % 2 == 1)
    found = probe(made.code, made.truth, (1, 2))
    one, two = (found.outcomes[k].values()["auc"][1] for k in (1, 2))
    assert two == 1.0
    assert one == pytest.approx(0.75, abs=0.03)


def test_a_permuted_dictionary_gives_the_same_scores(drawn):
    made = drawn(latents=8, concepts=2)
    before = probe(made.code, made.truth, (1, 3))
    order = np.random.default_rng(1).permutation(8)
    made.full = made.full[:, order]
    after = probe(made.code, made.truth, (1, 3))
    np.testing.assert_array_equal(order[after.chosen], before.chosen)
    for k in (1, 3):
        for name, values in before.outcomes[k].values().items():
            np.testing.assert_allclose(after.outcomes[k].values()[name], values, atol=1e-9)


def test_shuffled_labels_have_a_half_inside_their_interval(drawn):
    made = drawn(tokens=1500, concepts=8, documents=40)
    found = probe(made.code, made.truth, (1, 5))
    for k in (1, 5):
        mean = Measured.of(found.outcomes[k], 0).mean(np.arange(8))["auc"]
        assert mean.low < 0.5 < mean.high, mean


def test_splits_that_overlap_leak_and_are_refused(drawn):
    """Latents that know the document only: they tell nothing of other documents."""
    made = drawn(tokens=1200, latents=40, concepts=4, documents=40, signed=False)
    made.full[:] = np.eye(40, dtype=np.float32)[made.document]
    made.has = np.random.default_rng(5).random((40, 4))[made.document] < 0.4
    made.unsure[:] = False
    apart = probe(made.code, made.truth, (16,)).outcomes[16].values()["auc"]
    assert np.nanmean(apart) < 0.6
    # The same with tokens dealt, not documents: told apart almost perfectly, and refused.
    truth = made.truth
    overlap = np.arange(1200) % 4
    guarded = type(truth.folds)
    with pytest.raises(UserError, match="are in several folds"):
        guarded(made.document, overlap, 4)
    token = np.arange(1200)  # every token its own document: the guard sees nothing wrong
    leaking = type(truth).of(made.labels, guarded(token, overlap, 4), 1200)
    leaked = probe(made.code, leaking, (16,)).outcomes[16].values()["auc"]
    assert np.nanmean(leaked) > 0.85


def test_a_k_below_one_is_refused(drawn):
    made = drawn()
    with pytest.raises(UserError, match="k = 0; wanted at least 1"):
        probe(made.code, made.truth, (0, 1))
