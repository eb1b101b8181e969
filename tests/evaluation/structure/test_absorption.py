"""Absorption of a planted hierarchy: known for dictionaries made by hand."""

import pytest
import torch

from monosemy.dictionaries.crosscoders import Crosscoder
from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.local import LocalDictionary
from monosemy.dictionaries.normalised import NormalisedDictionary
from monosemy.dictionaries.selection import ReLU, TopK
from monosemy.dictionaries.transcoders import Transcoder
from monosemy.evaluation.structure.absorption import absorption, probe_labels
from monosemy.evaluation.structure.config import AbsorptionConfig
from monosemy.foundation.errors import UserError
from monosemy.tensors.compute import Compute


def value(found, name):
    return found.estimates[name].value


def test_a_dictionary_that_does_not_absorb_scores_zero(planted, honest):
    found = absorption(honest, *planted)
    assert [label.name for label in found.labels] == ["animal", "colour"]
    assert [label.latents for label in found.labels] == [(0,), (1,)]
    assert value(found, "probe_f1") == value(found, "latents_f1") == 1.0
    assert value(found, "absorption_fraction") == pytest.approx(0, abs=0.02)
    assert value(found, "full_absorption") == 0


def test_a_dictionary_that_absorbs_is_seen_to(planted, absorbing):
    # One child of each label, half of its tokens, is absorbed wholly; the split goes on, because a
    # second latent sees the other half, unless only one latent may stand for a label.
    found = absorption(absorbing, *planted, config=AbsorptionConfig(most_splits=1))
    for label, own, taken in zip(found.labels, (0, 1), (2, 4), strict=True):
        by_child = {child.name: child for child in label.children}
        assert label.latents in ((own,), (taken,))
        gone = by_child["cat" if own == 0 else "red"]
        left = by_child["dog" if own == 0 else "blue"]
        if label.latents == (own,):
            assert (gone.full_absorption, gone.absorption_fraction) == (1.0, 1.0)
            assert gone.absorber == taken
            assert (left.full_absorption, left.absorber) == (0.0, None)
        else:  # the child's latent is taken for the label; the parent's then holds what is left
            assert left.full_absorption == 1.0
        share = label.full_absorption.value
        assert share == pytest.approx(0.5, abs=0.06)
    assert value(found, "full_absorption_by_child") == 0.5
    assert value(found, "absorption_fraction_by_child") == pytest.approx(0.5, abs=0.01)


def test_a_label_split_over_two_latents_is_not_called_absorbed(planted, absorbing):
    found = absorption(absorbing, *planted)
    assert [sorted(label.latents) for label in found.labels] == [[0, 2], [1, 4]]
    assert value(found, "split_latents") == 2
    assert value(found, "full_absorption") == 0


def test_absorption_does_not_depend_on_units(planted, absorbing, honest):
    config = AbsorptionConfig(most_splits=1)
    for dictionary in (absorbing, honest):
        here = absorption(dictionary, *planted, config=config)
        there = FlatDictionary(
            dictionary.W_enc.detach(), dictionary.b_enc.detach(), dictionary.W_dec.detach(),
            dictionary.b_dec.detach(), ReLU(),
        ).eval()  # fmt: skip
        scaled = absorption(there, 100 * planted.x, planted.labels, planted.heldout, config=config)
        assert scaled.labels == here.labels
    # Nor on how long rows are, if activations are as much smaller.
    long = FlatDictionary(
        absorbing.W_enc.detach() / 3, absorbing.b_enc.detach(), 3 * absorbing.W_dec.detach(),
        absorbing.b_dec.detach(), ReLU(),
    ).eval()  # fmt: skip
    found = absorption(long, *planted, config=config)
    wanted = absorption(absorbing, *planted, config=config)
    assert value(found, "full_absorption") == value(wanted, "full_absorption")
    assert value(found, "absorption_fraction") == pytest.approx(
        value(wanted, "absorption_fraction"), abs=1e-6
    )


def test_an_offset_counts_only_where_projections_are_centred(planted, absorbing):
    shift = torch.zeros(planted.x.shape[1])
    shift[:2] = 10.0
    moved = FlatDictionary(
        absorbing.W_enc.detach(), absorbing.b_enc.detach(), absorbing.W_dec.detach(), shift, ReLU()
    ).eval()
    given = (planted.x + shift, planted.labels, planted.heldout)
    here = absorption(absorbing, *planted, config=AbsorptionConfig(most_splits=1))
    raw = absorption(moved, *given, config=AbsorptionConfig(most_splits=1))
    centred = absorption(moved, *given, config=AbsorptionConfig(most_splits=1, centred=True))
    wanted = value(here, "full_absorption")
    assert value(centred, "full_absorption") == pytest.approx(wanted, abs=0.02)
    assert value(raw, "full_absorption") == 0, "what b_dec holds hides all that is absorbed"


def test_probes_are_shared(planted, honest, absorbing):
    probed = probe_labels(*planted)
    for dictionary in (honest, absorbing):
        alone = absorption(dictionary, *planted)
        assert absorption(dictionary, *planted, probed=probed).to_json() == alone.to_json()


def test_a_label_that_activations_do_not_show_does_not_count(planted, honest):
    noise = torch.randn(planted.x.shape, generator=torch.Generator().manual_seed(3))
    found = absorption(honest, noise, planted.labels, planted.heldout)
    assert found.labels == ()
    assert set(found.left_out) == {"animal", "colour"}
    assert "not above 0.6" in found.left_out["animal"]
    assert found.estimates["absorption_fraction"].note == "no label counts"
    assert found.to_json()["counted"] == 0


def test_a_label_with_few_tokens_does_not_count(planted, honest):
    found = absorption(honest, *planted, config=AbsorptionConfig(examples=100_000))
    assert "wanted at least 100000 each" in found.left_out["animal"]


def test_whole_documents_are_drawn_where_none_are_said(planted, honest):
    first = probe_labels(planted.x, planted.labels)
    inside = planted.labels.document[torch.from_numpy(first.heldout)].unique()
    outside = planted.labels.document[torch.from_numpy(~first.heldout)].unique()
    assert (len(inside), len(outside)) == (8, 32)
    assert not set(inside.tolist()) & set(outside.tolist())
    other = probe_labels(planted.x, planted.labels, compute=Compute(seed=1))
    assert (first.heldout != other.heldout).any()


def test_intervals_are_over_held_out_documents(planted, absorbing):
    found = absorption(absorbing, *planted, config=AbsorptionConfig(most_splits=1))
    one = found.estimates["full_absorption"]
    assert one.low < one.value < one.high
    # 1,000 held-out tokens, two thirds of them labelled, half absorbed: about 0.02 either way.
    assert 0.02 < one.high - one.low < 0.12


def test_the_dictionary_is_measured_at_rest_and_left_as_it_was(planted, honest):
    honest.train()
    absorption(honest, *planted)
    assert honest.training


def test_bad_input_is_refused_with_all_reasons(planted, honest):
    x, labels, heldout = planted
    with pytest.raises(UserError, match="1,999 activations for 2,000 labelled tokens"):
        absorption(honest, x[1:], labels, heldout)
    wrong = heldout.clone()
    wrong[0] = True
    with pytest.raises(UserError, match=r"1 documents lie on both sides \('0'\)"):
        absorption(honest, x, labels, wrong)
    with pytest.raises(UserError, match="2,000 of 2,000 tokens are held out"):
        absorption(honest, x, labels, torch.ones(len(labels), dtype=torch.bool))
    with pytest.raises(UserError, match="heldout has 3 entries"):
        absorption(honest, x, labels, heldout[:3])
    with pytest.raises(UserError, match="has 9 numbers an activation, the dictionary 8"):
        absorption(honest, torch.zeros(len(labels), 9), labels, heldout)


def test_dictionaries_that_a_probe_says_nothing_about_are_refused(planted):
    W, b, o = torch.eye(8), torch.zeros(8), torch.zeros(8)
    for made, message in (
        (Crosscoder(W, b, W.clone(), o, TopK(2), [4, 4]), "writes several places at once"),
        (Transcoder(W, b, W.clone(), o, TopK(2)), "writes another place than it reads"),
        (
            NormalisedDictionary(FlatDictionary(W, b, W.clone(), o, TopK(2)), "unit_norm"),
            "own size",
        ),
    ):
        with pytest.raises(UserError, match=message):
            absorption(made, *planted)


def test_children_of_local_dictionaries_are_latents_like_others(planted):
    # Two parents on axes 0 and 1; each has two children in a chart of axes 2 to 5.
    trunk = FlatDictionary.tied(torch.eye(8)[:2], torch.zeros(8), ReLU())
    V = torch.stack([torch.eye(8)[2:4], torch.eye(8)[4:6]])
    C = torch.eye(2).expand(2, 2, 2).contiguous()
    local = LocalDictionary(trunk, V, torch.tensor([0, 1]), C).eval()
    found = absorption(local, *planted)
    assert [label.latents for label in found.labels] == [(0,), (1,)]
    assert value(found, "absorption_fraction") == pytest.approx(0, abs=0.02)
    assert value(found, "full_absorption") == 0
    assert value(found, "latents_f1") == 1.0
