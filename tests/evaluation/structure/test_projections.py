"""Absorption of single tokens, each case done by hand."""

import numpy as np
import pytest
import scipy.sparse

from monosemy.evaluation.structure.config import AbsorptionConfig
from monosemy.evaluation.structure.projections import Seen, absorbed

CONFIG = AbsorptionConfig()
# Latents: 0 and 1 are the label's own; 2 and 3 lie along the probe, 4 hardly, 5 against it; the rest
# help a little.
COSINE = np.array([0.8, 0.5, 0.9, 0.6, 0.05, -0.7, 0.2, 0.2, 0.2])
OWN = np.array([0, 1])


def one(activations, projection, config=CONFIG, length=1.0):
    """(fraction, full, largest) of a token with these activations by latent."""
    row = np.zeros((1, len(COSINE)))
    for latent, value in activations.items():
        row[0, latent] = value
    code = scipy.sparse.csr_array(row)
    seen = Seen(code, COSINE, length * COSINE, np.array([projection]))
    found = absorbed(seen, OWN, config)
    return found.fraction[0], found.full[0], found.largest[0]


def test_own_latents_that_hold_everything_leave_nothing_to_absorb():
    assert one({0: 1.0, 2: 2.0}, 0.8) == (0.0, 0.0, 2)


def test_silent_own_latents_are_absorbed_wholly():
    assert one({2: 1.0}, 0.9) == (1.0, 1.0, 2)


def test_the_part_that_others_hold():
    # M = 0.8 * 0.5 = 0.4 and A = 0.9 * 0.6 = 0.54 of p = 1: a = 0.54, a / (a + M).
    fraction, full, largest = one({0: 0.5, 2: 0.6}, 1.0)
    assert fraction == pytest.approx(0.54 / 0.94)
    assert (full, largest) == (0.0, 2), "an own latent speaks"


def test_others_hold_no_more_than_is_left():
    fraction, _, _ = one({0: 0.5, 2: 2.0}, 1.0)
    assert fraction == pytest.approx(0.6 / 1.0)


def test_less_than_two_fifths_do_not_count():
    assert one({2: 0.43}, 1.0)[:2] == (0.0, 0.0)
    assert one({2: 0.45}, 1.0)[:2] == (1.0, 1.0)


def test_at_most_three_absorb_together():
    # Each of 6, 7, 8 and 3 holds 0.15: three of them 0.45 of 1, never all 0.6 of 1.4.
    each = {3: 0.25, 6: 0.75, 7: 0.75, 8: 0.75}
    assert one(each, 1.0)[0] == 1.0
    assert one(each, 1.4)[0] == 0.0
    assert one(each, 1.4, AbsorptionConfig(absorbers=4))[0] == 1.0


def test_latents_that_hardly_point_along_the_probe():
    # Cosine 0.05: too little to absorb a part, enough to absorb alone.
    assert one({4: 20.0}, 1.0) == (0.0, 1.0, 4)
    assert one({4: 20.0}, 1.0, AbsorptionConfig(full_cosine=0.06))[1] == 0.0


def test_activations_against_the_probe():
    assert one({2: 1.0}, -1.0)[:2] == (0.0, 0.0)
    assert one({5: 1.0}, 1.0) == (0.0, 0.0, -1)
    # A signed latent that is negative on a direction against the probe holds a positive part.
    assert one({5: -1.0}, 0.7)[2] == 5


def test_own_latents_that_speak_against_the_label_are_absorbed_in_part_but_not_fully():
    assert one({0: -0.5, 2: 1.0}, 1.0) == (1.0, 0.0, 2)


def test_own_latents_below_the_threshold_are_silent():
    assert one({0: 1e-9, 2: 1.0}, 1.0)[1] == 1.0
    assert one({0: 1e-7, 2: 1.0}, 1.0)[1] == 0.0


def test_no_active_latent():
    assert one({}, 1.0) == (0.0, 0.0, -1)


def test_longer_rows_carry_more():
    assert one({2: 0.5}, 1.0, length=1.0)[0] == 1.0
    assert one({2: 0.4}, 1.0, length=1.0)[0] == 0.0
    assert one({2: 0.4}, 1.0, length=2.0)[0] == 1.0


def slowly(code, cosine, projection, own, config):
    """The definition, token by token, latent by latent."""
    fractions, fulls = [], []
    for row, p in zip(code, projection, strict=True):
        held = row * cosine
        main = held[own].sum()
        others = [
            held[i] for i in range(len(row))
            if i not in own and cosine[i] >= config.absorber_cosine and held[i] > 0
        ]  # fmt: skip
        most = sum(sorted(others)[-config.absorbers :])
        if p <= 0 or main >= p or most / p < config.share:
            fractions.append(0.0)
        elif main <= 0:
            fractions.append(1.0)
        else:
            part = min(most, p - main)
            fractions.append(part / (part + main))
        top = int(np.argmax(held))
        silent = all(abs(row[i]) < config.silent for i in own)
        fulls.append(float(silent and cosine[top] >= config.full_cosine and p > 0
                           and held[top] / p >= config.share))  # fmt: skip
    return fractions, fulls


@pytest.mark.parametrize("seed", range(5))
def test_many_tokens_at_once_are_the_definition_one_by_one(seed):
    draw = np.random.default_rng(seed)
    tokens, latents = 300, 20
    code = draw.normal(0.3, 1, (tokens, latents)) * (draw.random((tokens, latents)) < 0.3)
    cosine = draw.uniform(-1, 1, latents)
    cosine[:4] = 0.03
    projection = draw.normal(0.8, 0.6, tokens)
    own = draw.choice(latents, 3, replace=False)
    found = absorbed(Seen(scipy.sparse.csr_array(code), cosine, cosine, projection), own, CONFIG)
    fractions, fulls = slowly(code, cosine, projection, own, CONFIG)
    np.testing.assert_allclose(found.fraction, fractions, atol=1e-12)
    np.testing.assert_array_equal(found.full, fulls)
    assert 0 < np.mean(fulls) < 1
    assert len(set(np.round(fractions, 6))) > 10
