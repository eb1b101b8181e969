import pytest
import torch

from monosemy.dictionaries.baselines import neurons
from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.selection import BatchTopK
from monosemy.explanation import collect as module
from monosemy.explanation.collect import Collector, collect
from monosemy.foundation.errors import UserError

KEEP = 6


@pytest.fixture
def full(dictionary, source):
    with torch.no_grad():
        return dictionary.encode(source.values)


def test_density_and_maximum_are_exact(dictionary, source, full):
    collected = collect(dictionary, source, KEEP)
    assert collected.tokens == source.tokens
    assert torch.equal(collected.fired, (full > 0).sum(0))
    assert torch.equal(collected.density, (full > 0).double().mean(0))
    assert torch.equal(collected.max_activation, full.max(0).values.clamp_min(0))
    assert (collected.fired == 0).any()  # else nothing here would test a dead latent


def test_the_examples_are_the_strongest_of_each_context(dictionary, source, full):
    collected = collect(dictionary, source, KEEP)
    context = source.contexts.kept.nonzero()[:, 0]
    for latent in range(dictionary.latents):
        best = torch.zeros(len(source.contexts))
        best.scatter_reduce_(0, context, full[:, latent], "amax")
        wanted = best.sort(descending=True).values[:KEEP]
        assert torch.equal(collected.values[latent], wanted)
        rows = collected.rows[latent][: int(collected.found[latent])]
        assert torch.equal(full[rows, latent], wanted[: len(rows)])
        assert len(set(context[rows].tolist())) == len(rows)


def test_the_size_of_a_batch_changes_nothing(dictionary, source, monkeypatch):
    whole = collect(dictionary, source, KEEP)
    monkeypatch.setattr(module, "_BATCH", 160)
    parts = collect(dictionary, source, KEEP)
    assert torch.equal(whole.fired, parts.fired)
    assert torch.equal(whole.counts, parts.counts)
    assert torch.equal(whole.values[:, 0], parts.values[:, 0])


def test_a_histogram_counts_every_firing_token(dictionary, source, full):
    collected = collect(dictionary, source, KEEP)
    for latent in range(dictionary.latents):
        drawn = collected.histogram(latent)
        assert sum(drawn["counts"]) == int(collected.fired[latent])
        if not collected.fired[latent]:
            assert drawn == {"edges": [], "counts": []}
            continue
        assert len(drawn["edges"]) == len(drawn["counts"]) + 1
        assert drawn["edges"][-2] <= float(full[:, latent].max()) < drawn["edges"][-1]
        edges = torch.tensor(drawn["edges"])
        values = full[:, latent][full[:, latent] > 0]
        assert torch.histogram(values, edges).hist.tolist() == drawn["counts"]


def test_signed_codes_count_both_signs_and_show_the_upper_side(source):
    axes = neurons(source.width, source.width)
    collected = collect(axes, source, KEEP)
    assert torch.equal(collected.fired, (source.values != 0).sum(0))
    assert (collected.values > 0).all()


def test_a_batch_topk_dictionary_encodes_as_in_evaluation_and_is_left_as_it_was(source):
    draw = torch.Generator().manual_seed(0)
    made = FlatDictionary.random(source.width, 40, BatchTopK(4), draw)
    made.selection.threshold.fill_(1.5)
    made.train()
    collected = collect(made, source, KEEP)
    assert made.training
    assert float(made.selection.threshold) == 1.5
    with torch.no_grad():
        assert torch.equal(collected.fired, (made.eval().encode(source.values) > 0).sum(0))


def test_a_dictionary_of_another_width_is_refused(source):
    wrong = neurons(source.width + 1, 2)
    with pytest.raises(UserError, match="site invented has 12 numbers an activation"):
        collect(wrong, source)


def test_no_place_for_examples_is_refused(source):
    with pytest.raises(UserError, match="keep is 0 examples a latent; wanted at least 1"):
        Collector(3, source.contexts, 0)
