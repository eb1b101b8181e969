"""How many latents a label is split into."""

import numpy as np
import pytest
import scipy.sparse

from monosemy.evaluation.structure.config import AbsorptionConfig
from monosemy.evaluation.structure.splitting import split


def task(shares, seed=0, tokens=4000):
    """A label whose positives are shared out among latents; two more fire by chance."""
    draw = np.random.default_rng(seed)
    positive = draw.random(tokens) < 0.3
    kind = draw.choice(len(shares), tokens, p=shares)
    full = (draw.random((tokens, len(shares) + 2)) < 0.05).astype(float)
    for latent in range(len(shares)):
        full[:, latent] = positive & (kind == latent)
    half = tokens // 2
    code = scipy.sparse.csr_array(full)
    return code[:half], positive[:half], code[half:], positive[half:]


def test_one_latent_is_no_split():
    found = split(*task([1.0]), AbsorptionConfig())
    assert found.latents.tolist() == [0]
    assert found.f1[0] == 1.0


def test_latents_that_share_a_label_are_all_found():
    found = split(*task([0.5, 0.3, 0.2]), AbsorptionConfig())
    assert sorted(found.latents.tolist()) == [0, 1, 2]
    assert found.f1[2] == 1.0
    assert list(found.f1[:3]) == sorted(found.f1[:3])


def test_a_latent_that_gains_too_little_is_not_taken():
    # The second part holds 2 % of the label: F1 rises by about 0.01.
    tokens = task([0.98, 0.02])
    assert split(*tokens, AbsorptionConfig()).latents.tolist() == [0]
    assert split(*tokens, AbsorptionConfig(f1_jump=0.001)).latents.tolist() == [0, 1]


def test_there_is_a_largest_number():
    found = split(*task([0.25] * 4), AbsorptionConfig(most_splits=2))
    assert len(found.latents) == len(found.f1) == 2


@pytest.mark.parametrize("shares", [[1.0], [0.6, 0.4]])
def test_the_first_f1_that_did_not_gain_is_told(shares):
    found = split(*task(shares), AbsorptionConfig(l1=1e-4))
    assert len(found.f1) in (len(found.latents), len(found.latents) + 1)
