"""From tokens to means over labels and children, by hand."""

import numpy as np
import pytest
import torch

from monosemy.data.labels.labelling import Labels
from monosemy.evaluation.structure.gathering import Found, gather
from monosemy.evaluation.structure.projections import Absorbed
from monosemy.evaluation.structure.splitting import Split
from monosemy.tensors.compute import Compute

# Tokens of documents 0 (not held out), 1 and 2: label, child, fraction, full.
TOKENS = [
    (0, "a", "a1", 0, 0), (1, "a", "a1", 1.0, 1), (1, "a", "a1", 0.5, 0), (2, "a", "a1", 0.0, 0),
    (2, "a", "a2", 1.0, 1), (1, "b", "b1", 0.2, 0), (2, "b", "b1", 0.4, 1),
]  # fmt: skip


def gathered(least=1):
    parents, children = ("a", "b"), (("a", "a1"), ("a", "a2"), ("b", "b1"))
    columns = [
        (i, parents.index(p), children.index((p, c)), d) for i, (d, p, c, _, _) in enumerate(TOKENS)
    ]
    labels = Labels("h", parents, children, *torch.tensor(columns).T, ("0", "1", "2"))
    heldout = labels.document.numpy() > 0
    found = {}
    for name in parents:
        tokens = np.array([i for i, t in enumerate(TOKENS) if t[1] == name and t[0] > 0])
        terms = np.array([TOKENS[i][3:] for i in tokens], dtype=float)
        largest = np.where(terms[:, 1] > 0, 7, 3)
        split = Split(np.array([3, 4]), (0.5, 0.7, 0.71))
        found[name] = Found(0.9, split, tokens, Absorbed(terms[:, 0], terms[:, 1], largest))
    return gather(labels, found, {"c": "why"}, heldout, Compute(), least)


def test_means_over_tokens_then_labels():
    values = {name: one.value for name, one in gathered().estimates.items()}
    assert values["absorption_fraction"] == pytest.approx((2.5 / 4 + 0.6 / 2) / 2)
    assert values["full_absorption"] == pytest.approx((2 / 4 + 1 / 2) / 2)


def test_means_over_children_then_labels():
    values = {name: one.value for name, one in gathered().estimates.items()}
    assert values["absorption_fraction_by_child"] == pytest.approx(((0.5 + 1) / 2 + 0.3) / 2)
    assert values["full_absorption_by_child"] == pytest.approx(((1 / 3 + 1) / 2 + 0.5) / 2)


def test_rare_children_do_not_count_in_means_over_children():
    values = {name: one.value for name, one in gathered(least=2).estimates.items()}
    # a2 has one token; a1 three, b1 two.
    assert values["absorption_fraction_by_child"] == pytest.approx((0.5 + 0.3) / 2)
    assert values["absorption_fraction"] == pytest.approx((2.5 / 4 + 0.6 / 2) / 2)
    values = {name: one.value for name, one in gathered(least=3).estimates.items()}
    assert values["absorption_fraction_by_child"] == pytest.approx(0.5), "b has none left"


def test_what_is_found_once_has_no_interval():
    found = gathered().estimates
    assert (found["split_latents"].value, found["latents_f1"].value) == (2.0, pytest.approx(0.7))
    assert "no interval" in found["split_latents"].note
    assert found["absorption_fraction"].low is not None


def test_labels_and_children_are_told():
    label, other = gathered().labels
    assert (label.name, label.tokens, label.latents) == ("a", 4, (3, 4))
    assert [(child.name, child.tokens) for child in label.children] == [("a1", 3), ("a2", 1)]
    assert label.children[0].absorption_fraction == 0.5
    assert [child.absorber for child in label.children] == [7, 7]
    assert other.full_absorption.value == 0.5


def test_it_is_plain_json():
    import json

    found = json.loads(json.dumps(gathered().to_json(), allow_nan=False))
    assert (found["counted"], found["left_out"]) == (2, {"c": "why"})
    assert found["labels"][0]["latents"] == [3, 4]
