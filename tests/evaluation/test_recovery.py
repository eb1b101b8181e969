"""Recovery: against SAELens on the same dictionary and samples, and by hand on plain truths."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from monosemy.data.features.truth import Features, Samples
from monosemy.dictionaries import files
from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.selection import ReLU
from monosemy.evaluation import recovery as module
from monosemy.evaluation.readers import Oracle
from monosemy.evaluation.recovery import RecoveryTally, recovery
from monosemy.foundation.errors import UserError
from monosemy.tensors.codes import SparseCode

REFERENCE = Path(__file__).parents[1] / "reference" / "saelens_synthetic_metrics"
# Theirs -> ours.
NAMES = {
    "true_l0": "true_l0",
    "sae_l0": "l0",
    "shrinkage": "l2_ratio",
    "mcc": "mcc",
    "uniqueness": "uniqueness",
}


def orthogonal(parents, width=None, name="orthogonal"):
    """Features along the axes; `parents` says which feature each needs."""
    parents = torch.tensor(parents)
    levels = torch.zeros_like(parents)
    for feature, parent in enumerate(parents.tolist()):
        levels[feature] = levels[parent] + 1 if parent >= 0 else 0
    count = len(parents)
    directions = torch.eye(count, width or count)
    return Features(
        name, directions, parents, levels, torch.full((count,), 0.5), torch.full((count,), -1)
    )


def samples_of(features, on, strength=1.0):
    values = on.float() * strength
    return Samples(values @ features.directions, SparseCode.from_dense(values))


def reading(features, rows=None, bias=0.0):
    """A dictionary with the given rows that reads what it writes."""
    rows = features.directions if rows is None else rows
    dictionary = FlatDictionary.tied(rows, torch.zeros(features.width), ReLU())
    dictionary.b_enc.data.fill_(bias)
    return dictionary


def drawn(tokens, count, seed=0, share=0.4):
    return torch.rand(tokens, count, generator=torch.Generator().manual_seed(seed)) < share


@pytest.mark.parametrize("name", ["standard", "topk", "abstopk", "jumprelu"])
def test_as_saelens_on_the_same_samples(name):
    held = load_file(REFERENCE / "samples.safetensors")
    expected = json.loads((REFERENCE / name / "expected.json").read_text())
    count = len(held["features"])
    none = torch.full((count,), -1)
    features = Features(
        "recorded", held["features"], none, torch.zeros_like(none), torch.ones(count), none
    )
    truth = SparseCode.from_dense(held["activations"])
    dictionary = files.load(REFERENCE / name)
    found = recovery(dictionary, Samples(held["rows"], truth), features)
    for theirs, ours in NAMES.items():
        assert found.value(ours) == pytest.approx(expected[theirs], abs=1e-6), ours
    for theirs, ours in {"f1_score": "f1", "precision": "precision", "recall": "recall",
                         "accuracy": "accuracy"}.items():  # fmt: skip
        assert found.value(ours) == pytest.approx(expected["classification"][theirs], abs=1e-6)
    assert 1 - found.value("fvu") == pytest.approx(expected["explained_variance"], rel=1e-6)
    dead = found.value("dead_fraction") * dictionary.latents
    assert dead == pytest.approx(expected["dead_latents"])


def test_the_truth_recovers_everything():
    features = orthogonal([-1, 0, 0, -1, 3])
    on = drawn(2000, 5)
    on[:, 1:3] &= on[:, :1]
    on[:, 4] &= on[:, 3]
    found = recovery(reading(features), samples_of(features, on), features)
    for name in ("f1", "precision", "recall", "accuracy", "mcc", "uniqueness", "assigned_f1",
                 "parent_f1", "child_f1", "level_0_f1", "level_1_f1"):  # fmt: skip
        assert found.value(name) == pytest.approx(1), name
    for name in ("silent_parent_rate", "absorption", "hedging", "fvu", "dead_fraction"):
        assert found.value(name) == pytest.approx(0, abs=1e-6), name
    assert (
        found.value("l0")
        == found.value("true_l0")
        == pytest.approx(float(on.sum(1).float().mean()))
    )
    assert found.assignment.columns.tolist() == found.nearest.tolist() == [0, 1, 2, 3, 4]
    assert found.feature_f1.tolist() == [1, 1, 1, 1, 1]


def test_an_absorbed_parent():
    """The parent's latent is silent whenever the child is on, whose latent says both."""
    features = orthogonal([-1, 0])
    on = torch.tensor([[1, 0]] * 60 + [[1, 1]] * 30 + [[0, 0]] * 10).bool()
    samples = samples_of(features, on)
    rows = torch.tensor([[1.0, -1.0], [1.0, 1.0]])
    dictionary = FlatDictionary.tied(rows, torch.zeros(2), ReLU())
    dictionary.b_enc.data.copy_(torch.tensor([0.0, -1.5]))
    found = recovery(dictionary, samples, features)
    assert dictionary.encode(torch.tensor([[1.0, 1.0]])).tolist() == [[0.0, 0.5]]
    assert found.value("silent_parent_rate") == found.value("absorption") == 1
    assert found.value("parent_miss_rate") == 0
    assert found.value("parent_f1") == pytest.approx(2 * 60 / (60 + 90))
    assert found.value("child_f1") == 1
    # Half of the squared length of either row lies along the other feature.
    assert found.value("hedging") == pytest.approx(0.5)


def test_features_without_a_latent_count_nothing():
    features = orthogonal([-1, 0, 0, 0])
    on = drawn(500, 4)
    on[:, 1:] &= on[:, :1]
    found = recovery(reading(features, features.directions[:2]), samples_of(features, on), features)
    assert (found.value("parent_f1"), found.value("assigned_f1")) == (1, 1)
    assert found.value("child_f1") == pytest.approx(1 / 3)
    assert found.feature_f1.tolist() == [1, 1, 0, 0]


def test_two_latents_of_one_feature():
    features = orthogonal([-1, -1])
    rows = features.directions[[0, 0, 1]]
    found = recovery(reading(features, rows), samples_of(features, drawn(300, 2)), features)
    assert found.value("f1") == found.value("mcc") == 1
    assert found.value("uniqueness") == pytest.approx(2 / 3)
    assert found.value("assigned_f1") == 1
    assert found.value("parent_f1") is None
    assert found.estimates["parent_f1"].note == "the world has no hierarchy"


def test_relabelled_latents_are_found_all_the_same():
    features = orthogonal([-1, 0, 0, -1])
    on = drawn(700, 4)
    order = torch.tensor([2, 0, 3, 1])
    samples = samples_of(features, on)
    noisy = features.directions + 0.3 * torch.rand(4, 4, generator=torch.Generator().manual_seed(1))
    here = recovery(reading(features, noisy, -0.4), samples, features)
    moved = recovery(reading(features, noisy[order], -0.4), samples, features)
    for name, one in here.estimates.items():
        assert moved.value(name) == pytest.approx(one.value, abs=1e-6), name


def test_a_latent_that_fires_at_random_recovers_nothing():
    """A guard that cannot fail guards nothing: noise must not look like a feature."""
    features = orthogonal([-1, 0, 0, -1])
    on = drawn(5000, 4, share=0.1)
    truth = samples_of(features, on).truth
    unrelated = torch.randn(5000, 4, generator=torch.Generator().manual_seed(9))
    found = recovery(reading(features, bias=-1.28), Samples(unrelated, truth), features)
    assert found.value("assigned_f1") < 0.15
    assert found.value("fvu") > 0.2


def test_pieces_give_what_the_whole_gives(monkeypatch):
    monkeypatch.setattr(module, "_PIECE", 7)
    features = orthogonal([-1, 0, 0])
    samples = samples_of(features, drawn(501, 3), 1.5)
    dictionary = reading(features, features.directions + 0.2, -0.3)
    whole = recovery(dictionary, samples, features)
    cuts = [0, 1, 5, 5, 250, 501]
    pieces = [
        Samples(samples.x[a:b], samples.truth[a:b]) for a, b in zip(cuts, cuts[1:], strict=False)
    ]
    parts = recovery(dictionary, iter(pieces), features)
    assert parts.to_json().keys() == whole.to_json().keys()
    for name, one in whole.estimates.items():
        assert parts.value(name) == pytest.approx(one.value, abs=1e-9), name
        if one.low is not None:
            assert parts.estimates[name].low == pytest.approx(one.low, abs=1e-9)


def test_intervals_hold_the_value_and_shrink_with_more_samples():
    features = orthogonal([-1, 0, 0])

    def width(tokens):
        samples = samples_of(features, drawn(tokens, 3))
        found = recovery(reading(features, features.directions + 0.4, -0.5), samples, features)
        one = found.estimates["f1"]
        assert one.low < one.value < one.high
        return one.high - one.low

    assert width(40_000) < 0.5 * width(5_000)
    assert (
        recovery(reading(features), samples_of(features, drawn(10, 3)), features)
        .estimates["f1"]
        .note.startswith("one document")
    )


def test_an_oracle_of_some_features():
    features = orthogonal([-1, 0, -1])
    samples = samples_of(features, drawn(600, 3))
    shifted = Samples(samples.x + 2.0, samples.truth)
    oracle = Oracle(features, torch.tensor([0, 2]), torch.full((3,), 2.0))
    found = recovery(oracle, shifted, features)
    assert found.value("f1") == found.value("assigned_f1") == found.value("mcc") == 1
    assert found.value("child_f1") == 0
    assert found.value("fvu") == pytest.approx(0.4 / (3 * 0.24), abs=0.03), "E a² over 3 var a"


def test_coordinates_below_zero_are_active():
    features = orthogonal([-1, -1])
    on = drawn(400, 2)
    signs = torch.where(drawn(400, 2, seed=4), 1.0, -1.0)
    samples = samples_of(features, on, signs)
    oracle = Oracle(features, torch.arange(2), torch.zeros(2))
    assert recovery(oracle, samples, features).value("f1") == 1
    one_sided = recovery(reading(features), samples, features)
    assert one_sided.value("recall") < 0.7


def test_what_does_not_fit_is_refused():
    features = orthogonal([-1, 0])
    tally = RecoveryTally(Oracle(features, torch.tensor([0]), torch.zeros(2)), features)
    with pytest.raises(UserError, match="no sample was measured; wanted at least 1"):
        recovery(reading(features), [], features)
    other = orthogonal([-1, 0, 0], name="other")
    with pytest.raises(UserError) as refused:
        tally.add(samples_of(other, drawn(5, 3)))
    assert "samples have 3 numbers, the dictionary 2" in str(refused.value)
    assert "samples are of 3 features in 3 dimensions, orthogonal has 2 in 2" in str(refused.value)
