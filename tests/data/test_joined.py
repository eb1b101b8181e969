"""Columns of several sites, of several models, and of a folder, over the same tokens."""

from dataclasses import replace

import pytest
import torch

from monosemy.data.capture import LiveSource, capture
from monosemy.data.joined import JoinedSource, LiveSites, join_shards, open_live
from monosemy.data.streams import ActivationStream, Source
from monosemy.data.tokens import Contexts
from monosemy.foundation.errors import UserError
from monosemy.models import sites, tap
from monosemy.models.loading import reinitialised
from monosemy.tensors.compute import Compute

NAMES = ("blocks.0.hook_resid_post", "blocks.1.mlp.hook_post", "blocks.1.hook_mlp_out")


@pytest.fixture
def places(loaded):
    return [sites.resolve(loaded.model, name) for name in NAMES]


@pytest.fixture
def forwards(monkeypatch):
    """How many sites each forward pass read."""
    counted, read = [], tap.read

    def counting(model, chosen, ids, mask=None):
        counted.append(len(chosen))
        return read(model, chosen, ids, mask)

    monkeypatch.setattr(tap, "read", counting)
    return counted


def everything(source):
    return source.rows(0, source.tokens)


def test_sites_of_one_model_lie_side_by_side_after_one_pass(loaded, contexts, places, forwards):
    source = open_live([loaded], places, contexts)
    assert isinstance(source, Source)
    rows = everything(source)
    groups = len(forwards)
    assert forwards == [3] * groups
    alone = [everything(LiveSource(loaded, place, contexts)) for place in places]
    assert torch.equal(rows, torch.cat(alone, 1))
    assert source.widths == (8, 32, 8)
    assert (source.width, source.tokens) == (48, contexts.tokens)
    assert torch.equal(source.rows(5, 40), rows[5:40])
    assert source.site == ", ".join(NAMES)


def test_the_order_of_sites_is_the_order_of_columns(loaded, contexts, places):
    forth, back = (open_live([loaded], p, contexts) for p in (places, places[::-1]))
    parts = everything(forth).split(forth.widths, 1)
    assert torch.equal(everything(back), torch.cat(parts[::-1], 1))
    assert forth.fingerprint != back.fingerprint


def test_shards_and_live_sites_are_the_same_source(loaded, contexts, places, tmp_path):
    live = open_live([loaded], places, contexts)
    capture(loaded, places, contexts, tmp_path / "shards")
    kept = join_shards(tmp_path / "shards", NAMES)
    assert isinstance(kept, Source)
    assert torch.equal(everything(live), everything(kept))
    assert live.fingerprint == kept.fingerprint
    assert (live.widths, live.waits_for) == (kept.widths, "model")
    assert kept.waits_for == "input"
    assert kept.contexts.fingerprint == contexts.fingerprint


def test_one_site_is_the_source_that_it_always_was(loaded, contexts, places, tmp_path):
    alone = LiveSource(loaded, places[0], contexts)
    capture(loaded, places[:1], contexts, tmp_path / "shards")
    for source in (
        open_live([loaded], places[:1], contexts),
        join_shards(tmp_path / "shards", NAMES[:1]),
        LiveSites(loaded, places[:1], contexts),
    ):
        assert source.fingerprint == alone.fingerprint
        assert torch.equal(everything(source), everything(alone))


def test_models_follow_each_other(loaded, contexts, places):
    other = reinitialised(loaded, 3)
    source = open_live([loaded, other], places[:2], contexts)
    halves = [everything(open_live([one], places[:2], contexts)) for one in (loaded, other)]
    assert torch.equal(everything(source), torch.cat(halves, 1))
    assert (halves[0] - halves[1]).abs().max() > 0.01
    assert source.widths == (8, 32, 8, 32)
    turned = open_live([other, loaded], places[:2], contexts)
    assert source.fingerprint != turned.fingerprint


def test_a_stream_deals_the_rows(loaded, contexts, places):
    source = open_live([loaded, reinitialised(loaded, 3)], places[:1], contexts)
    stream = ActivationStream(source, 32, Compute(seed=0), block=64)
    dealt = torch.cat(list(stream))
    assert dealt.shape[1] == 16
    known = {tuple(row) for row in everything(source).tolist()}
    assert all(tuple(row) in known for row in dealt.tolist())


def test_names_that_another_model_lacks_are_all_named(loaded, contexts, places):
    config = type(loaded.model.config)(
        vocab_size=270, n_positions=16, n_embd=8, n_layer=1, n_head=2
    )
    short = replace(loaded, name="short", model=type(loaded.model)(config).eval())
    with pytest.raises(UserError) as caught:
        open_live([loaded, short], places, contexts)
    said = str(caught.value)
    assert said.startswith("comparing these models has 2 problems:")
    for name in NAMES[1:]:
        assert f"short: unknown site '{name}'" in said


def test_other_contexts_and_precisions_are_all_named(loaded, contexts, places, tmp_path):
    first = LiveSource(loaded, places[0], contexts)
    fewer = LiveSource(loaded, places[1], contexts[:4])
    half = LiveSource(loaded, places[2], contexts, dtype="bfloat16")
    with pytest.raises(UserError) as caught:
        JoinedSource([first, fewer, half])
    assert str(caught.value) == (
        "these activations side by side has 2 problems:\n"
        f"  - {NAMES[1]} was read from other contexts ({fewer.tokens:,} tokens) than {NAMES[0]} "
        f"({first.tokens:,}); capture both from the same text\n"
        f"  - {NAMES[2]} is in torch.bfloat16 and {NAMES[0]} in torch.float32; "
        "read both in one precision"
    )


def test_as_many_tokens_of_other_text_are_seen(loaded, contexts, places):
    changed = Contexts(
        contexts.ids.flip(0), contexts.document, contexts.offset, contexts.kept,
        contexts.documents, contexts.origin,
    )  # fmt: skip
    pair = [LiveSource(loaded, places[0], one) for one in (contexts, changed)]
    with pytest.raises(UserError, match="was read from other contexts"):
        JoinedSource(pair)
    same = Contexts(
        contexts.ids.clone(), contexts.document, contexts.offset, contexts.kept,
        contexts.documents, contexts.origin,
    )  # fmt: skip
    assert JoinedSource([pair[0], LiveSource(loaded, places[1], same)]).width == 40


def test_nothing_to_join_is_refused():
    with pytest.raises(UserError, match="no source is given; name at least one site"):
        JoinedSource([])
