"""Probes: against scikit-learn's logistic regression, and on what no linear reader can tell."""

import pytest
import torch
from sklearn.linear_model import LogisticRegression

from monosemy.data.features.truth import Samples
from monosemy.evaluation.probes import fit_probes
from monosemy.evaluation.readers import Reader
from monosemy.foundation.errors import UserError
from monosemy.tensors.codes import SparseCode

WIDTH, FEATURES = 8, 12


def directions():
    draw = torch.Generator().manual_seed(0)
    return torch.nn.functional.normalize(torch.randn(FEATURES, WIDTH, generator=draw), dim=1)


def drawn(tokens, seed, noise=0.2):
    draw = torch.Generator().manual_seed(seed)
    on = torch.rand(tokens, FEATURES, generator=draw) < 0.15
    x = on.float() @ directions() + noise * torch.randn(tokens, WIDTH, generator=draw) + 5.0
    return Samples(x, SparseCode.from_dense(on.float()))


def probes(told, steps=400, noise=0.2):
    batches = (drawn(512, 10 + step, noise) for step in range(steps))
    return fit_probes(batches, told, drawn(4000, 1, noise), steps)


def test_as_good_as_scikit_learns():
    told = torch.tensor([0, 5, 11])
    found, test = probes(told), drawn(20_000, 2)
    train = drawn(40_000, 3)
    code, written = found.read(test)
    assert written is None
    assert isinstance(found, Reader)
    fires, truth = code.dense() > 0, test.truth.dense()[:, told] > 0
    for place, feature in enumerate(told.tolist()):
        theirs = LogisticRegression(C=1e4, max_iter=1000)
        theirs.fit(train.x.numpy(), train.truth.dense()[:, feature].numpy() > 0)
        right = theirs.score(test.x.numpy(), truth[:, place].numpy())
        ours = float((fires[:, place] == truth[:, place]).float().mean())
        assert ours == pytest.approx(right, abs=0.004)
        weights = torch.from_numpy(theirs.coef_[0]).float()
        assert torch.cosine_similarity(weights, found.weights[place], dim=0) > 0.98


def test_patterns_point_at_what_was_planted_where_weights_do_not():
    told = torch.arange(FEATURES)
    found = probes(told)
    planted = directions()
    patterns = torch.cosine_similarity(found.directions, planted, dim=1)
    weights = torch.cosine_similarity(found.weights, planted, dim=1)
    assert patterns.mean() > 0.95
    assert patterns.mean() > weights.mean()


def test_what_is_not_in_the_activations_is_not_found():
    """The labels are shuffled: a probe that found them would have seen the test samples."""
    told = torch.tensor([0])
    batches = []
    for step in range(100):
        batch = drawn(256, step)
        order = torch.randperm(256, generator=torch.Generator().manual_seed(step))
        shuffled = SparseCode.from_dense(batch.truth.dense()[order])
        batches.append(Samples(batch.x, shuffled))
    found = fit_probes(batches, told, batches[0], 100)
    code, _ = found.read(drawn(2000, 999))
    assert len(code.indices) < 20, "rare and unpredictable: silence is the best guess"


def test_what_cannot_be_taught_is_refused():
    with pytest.raises(UserError, match="0 probes, 5 steps, 4,000 samples to begin with"):
        probes(torch.tensor([], dtype=torch.long), 5)
