from collections import Counter
from dataclasses import replace

import pytest
import torch

from monosemy.data.tokens import NOWHERE, Packing, pack
from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.selection import ReLU
from monosemy.explanation.collect import Collected, collect
from monosemy.explanation.examples import choose_features, examples
from monosemy.foundation.errors import UserError
from monosemy.tensors.compute import Compute

LATENTS = (0, 3, 8, 12)


@pytest.fixture(scope="module")
def collected(dictionary, source):
    return collect(dictionary, source, keep=16)


@pytest.fixture(scope="module")
def shown(collected, dictionary, source, tokenizer):
    return examples(collected, dictionary, source, tokenizer, LATENTS, count=5, radius=4)


def find(corpus, name):
    return next(d.text for d in corpus.documents if d.name == name)


def test_an_example_is_a_piece_of_its_document(shown, corpus):
    whole = 0
    for example in (e for latent in LATENTS for e in shown[latent]):
        text = "".join(example.tokens)
        if "\\x" in text:  # cut inside an emoji
            continue
        there = find(corpus, example.document)[example.offset :]
        assert there.startswith(text)
        whole += 1
    assert whole > 10


def test_activations_are_those_of_the_feature_on_every_token(shown, dictionary, source):
    ids = source.contexts.ids[source.contexts.kept]
    with torch.no_grad():
        full = dictionary.encode(source.values)
    for latent in LATENTS:
        for example in shown[latent]:
            peak = max(example.activations)
            row = int((full[:, latent] - peak).abs().argmin())
            at = example.activations.index(peak)
            rows = slice(row - at, row - at + len(example.tokens))
            assert full[rows, latent].tolist() == pytest.approx(example.activations)
            assert len(ids[rows]) == len(example.tokens)


def test_they_come_strongest_first_and_keep_to_the_radius(shown, collected):
    for latent in LATENTS:
        peaks = [max(example.activations) for example in shown[latent]]
        assert peaks == sorted(peaks, reverse=True)
        assert peaks[0] == pytest.approx(float(collected.max_activation[latent]))
        for example, peak in zip(shown[latent], peaks, strict=True):
            at = example.activations.index(peak)
            assert at <= 4
            assert len(example.tokens) - at <= 5


def test_one_example_for_each_place_of_a_document(contexts, tokenizer, made_source):
    # Fires on tokens 14 to 17 of one document, across two contexts, and once elsewhere.
    values = torch.zeros(contexts.tokens, 1)
    values[14:18, 0] = torch.tensor([3.0, 5.0, 4.0, 2.0])
    values[200] = 1.0
    identity = FlatDictionary(torch.eye(1), torch.zeros(1), torch.eye(1), torch.zeros(1), ReLU())
    source = made_source(contexts, values)
    collected = collect(identity, source, keep=8)
    assert int(collected.found[0]) == 3  # the burst is in two contexts
    shown = examples(collected, identity, source, tokenizer, [0])[0]
    assert [max(example.activations) for example in shown] == [5.0, 1.0]


def test_a_piece_that_repeats_an_earlier_one_is_left_out(contexts, tokenizer, made_source):
    same = replace(contexts, ids=torch.full_like(contexts.ids, 40))
    values = torch.zeros(contexts.tokens, 1)
    values[torch.arange(100, 1000, 100), 0] = torch.arange(1.0, 10.0)
    identity = FlatDictionary(torch.eye(1), torch.zeros(1), torch.eye(1), torch.zeros(1), ReLU())
    for chosen, at_least, at_most in ((contexts, 6, 6), (same, 1, 4)):
        source = made_source(chosen, values)
        collected = collect(identity, source, keep=16)
        shown = examples(collected, identity, source, tokenizer, [0], count=6, radius=2)[0]
        assert at_least <= len(shown) <= at_most
        pieces = Counter(example.tokens for example in shown)
        assert max(pieces.values()) == 1


def test_a_dead_latent_has_no_examples(collected, dictionary, source, tokenizer):
    dead = int((collected.fired == 0).nonzero()[0])
    assert examples(collected, dictionary, source, tokenizer, [dead]) == {dead: []}


def test_an_example_ends_where_its_document_ends(corpus, tokenizer, made_source):
    kept = pack(corpus, tokenizer, Packing(context=16, drop_bos=False), Compute(seed=1))
    values = torch.zeros(kept.tokens, 1)
    begins = (kept.offset == NOWHERE)[kept.kept].nonzero().flatten()[1:]
    values[begins - 1, 0] = 1 + torch.rand(len(begins), generator=torch.Generator().manual_seed(0))
    identity = FlatDictionary(torch.eye(1), torch.zeros(1), torch.eye(1), torch.zeros(1), ReLU())
    source = made_source(kept, values)
    collected = collect(identity, source, keep=40)
    shown = examples(collected, identity, source, tokenizer, [0], count=40, radius=3)[0]
    assert len(shown) > 20
    for example in shown:
        assert example.activations[-1] > 0  # the peak is the document's last token
        assert "<bos>" not in example.tokens[1:]


def test_other_contexts_are_refused(collected, dictionary, source, tokenizer, made_source):
    fewer = made_source(source.contexts[:10], source.values[: source.contexts[:10].tokens])
    with pytest.raises(UserError, match="collected from other contexts than the ones given"):
        examples(collected, dictionary, fewer, tokenizer, [0])


# --- which features ------------------------------------------------------------------------------


def wide(collected):
    """Limits that this small text can meet."""
    return choose_features(collected, count=6, lowest=1e-3, highest=0.2, examples=4)


def peak_token(collected, latent):
    ids = collected.contexts.ids[collected.contexts.kept]
    rows = collected.rows[latent][: int(collected.found[latent])]
    return Counter(ids[rows].tolist()).most_common(1)[0][0]


def test_the_features_chosen_are_alive_sensible_and_different(collected):
    chosen = wide(collected)
    density = collected.density[chosen]
    assert len(chosen) == len(set(chosen)) == 6
    assert ((density >= 1e-3) & (density <= 0.2)).all()
    assert (collected.found[chosen] >= 4).all()
    assert density.tolist() == sorted(density.tolist(), reverse=True)
    assert len({peak_token(collected, latent) for latent in chosen}) == 6
    # The limits have something to leave out.
    assert (collected.density > 0.2).any()
    assert (collected.density < 1e-3).any()


def test_the_choice_is_spread_over_densities(collected):
    density = collected.density[wide(collected)]
    sensible = collected.density[(collected.density >= 1e-3) & (collected.density <= 0.2)]
    assert density.max() > sensible.quantile(0.6)
    assert density.min() < sensible.quantile(0.4)


def by_hand(contexts, rows, values, fired):
    """A collection with the given peaks, all of them real rows of `contexts`."""
    nothing = torch.zeros(len(fired), 2)
    return Collected(contexts, contexts.tokens, fired, values, rows, nothing.long(), nothing[:, 0])


def test_each_band_of_density_gives_its_strongest(contexts):
    # Eighteen latents, each at a token of its own; the denser, the stronger, so that without bands
    # the densest six would be chosen.
    ids = contexts.ids[contexts.kept]
    first = contexts.kept.cumsum(1)[contexts.kept] == 1
    rows = [int(((ids == token) & ~first).nonzero()[0]) for token in ids[~first].unique()[:18]]
    peaks = torch.tensor(rows)[:, None].expand(-1, 4)
    fired = torch.arange(10, 190, 10)
    values = torch.linspace(1, 5, 18)[:, None].expand(-1, 4)
    collected = by_hand(contexts, peaks, values, fired)
    limits = {"count": 6, "lowest": 1e-6, "highest": 1.0, "examples": 4}
    assert choose_features(collected, **limits) == [17, 14, 11, 8, 5, 2]
    # Two latents with the same peak token: the next strongest of the band takes the place.
    same = peaks.clone()
    same[17] = same[14]
    again = by_hand(contexts, same, values, fired)
    assert choose_features(again, **limits) == [16, 14, 11, 8, 5, 2]


def test_latents_that_peak_where_text_was_cut_come_last(contexts):
    ids = contexts.ids[contexts.kept]
    first = (contexts.kept.cumsum(1) == 1)[contexts.kept]
    cut, inside = first.nonzero().flatten()[:4], (~first).nonzero().flatten()[:4]
    assert ids[cut[0]] != ids[inside[0]]
    rows = torch.stack([cut, inside])
    values = torch.tensor([[9.0] * 4, [1.0] * 4])
    collected = by_hand(contexts, rows, values, torch.tensor([20, 20]))
    limits = {"lowest": 1e-6, "highest": 1.0, "examples": 4}
    assert choose_features(collected, count=1, **limits) == [1]
    assert sorted(choose_features(collected, count=2, **limits)) == [0, 1]


def test_the_choice_does_not_change(collected):
    assert wide(collected) == wide(collected)


def test_without_enough_sensible_latents_others_that_fire_follow(collected):
    chosen = choose_features(collected, count=6, lowest=0.9, highest=1.0)
    assert len(chosen) == 6
    assert (collected.fired[chosen] > 0).all()


def test_a_dictionary_that_never_fires_has_none(collected):
    silent = replace(
        collected,
        fired=torch.zeros_like(collected.fired),
        rows=torch.full_like(collected.rows, -1),
        values=torch.zeros_like(collected.values),
    )
    assert choose_features(silent) == []
