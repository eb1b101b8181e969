import pytest
import torch
import transformers
from torch.nn.functional import cross_entropy, kl_div, log_softmax

from monosemy.foundation.errors import UserError
from monosemy.interventions import contrast as module
from monosemy.interventions.contrast import contrast, counted_tokens, run_clean
from monosemy.interventions.edits import MeanAblate, Only, Patch, ZeroAblate
from monosemy.models import sites, tap


class Same:
    """Leaves the activation as it is."""

    def __call__(self, activation):
        return activation


def _plain_losses(logits, ids):
    """Position by position, with torch's own cross-entropy; zero where nothing is predicted."""
    loss = torch.zeros(ids.shape)
    for c, context in enumerate(ids):
        loss[c, 1:] = cross_entropy(logits[c, :-1].float(), context[1:], reduction="none")
    return loss


def _plain_divergences(clean, edited):
    out = torch.zeros(clean.shape[:2])
    p, q = log_softmax(clean.double(), -1), log_softmax(edited.double(), -1)
    out[:, 1:] = kl_div(q, p, log_target=True, reduction="none").sum(-1)[:, :-1].float()
    return out


def test_clean_losses_are_those_of_a_plain_forward_pass(model, site, ids):
    run = run_clean(model, site, ids)
    torch.testing.assert_close(run.loss, _plain_losses(model(ids).logits, ids))
    assert torch.equal(run.activation, tap.read(model, [site], ids)[site.name])


def test_edited_losses_and_divergences_by_hand(model, site, ids):
    with tap.editing(model, {site: ZeroAblate()}):
        edited = model(ids).logits
    change = run_clean(model, site, ids).under(ZeroAblate())
    torch.testing.assert_close(change.loss, _plain_losses(edited, ids))
    wanted = _plain_divergences(model(ids).logits, edited)
    torch.testing.assert_close(change.divergence, wanted, rtol=1e-4, atol=1e-5)
    # The direction matters, and is seen.
    backwards = _plain_divergences(edited, model(ids).logits)
    assert (wanted - backwards).abs().max() > 0.01


def test_an_edit_that_changes_nothing_diverges_by_nothing(model, site, ids):
    run = run_clean(model, site, ids)
    for edit in (Same(), Patch(run.activation)):
        change = run.under(edit)
        torch.testing.assert_close(change.loss, run.loss)
        assert change.divergence.abs().max() < 1e-6
    assert run.under(ZeroAblate()).divergence.max() > 0.01


@pytest.mark.parametrize("entries", [1, 100, 10**6])
def test_chunks_change_nothing(model, site, ids, monkeypatch, entries):
    whole = run_clean(model, site, ids).under(ZeroAblate())
    monkeypatch.setattr(module, "_ENTRIES", entries)
    parts = run_clean(model, site, ids).under(ZeroAblate())
    torch.testing.assert_close(parts.loss, whole.loss)
    torch.testing.assert_close(parts.divergence, whole.divergence)


def test_what_comes_before_the_edit_is_untouched(model, site, ids):
    """Only position 5 is edited: positions up to 5 are predicted as before."""
    kept = torch.zeros(3, 8, dtype=torch.bool)
    kept[:, 5] = True
    run = run_clean(model, site, ids)
    change = run.under(Only(ZeroAblate(), kept))
    assert change.divergence[:, :6].abs().max() < 1e-6
    assert change.divergence[:, 6].min() > 1e-4
    torch.testing.assert_close(change.loss[:, :6], run.loss[:, :6])


def test_tokens_that_count(kept):
    counted = counted_tokens(kept)
    assert counted.long().tolist() == [
        [0, 1, 1, 1, 1, 1, 1, 1],
        [0, 1, 1, 1, 0, 1, 1, 1],
        [0, 1, 1, 1, 1, 1, 0, 0],
    ]
    assert kept[1, 0]  # was not written to


def test_a_contrast_runs_every_edit_at_kept_positions_only(model, site, ids, kept):
    mean = torch.linspace(-1, 1, 24)
    found = contrast(model, site, ids, kept, {"zero": ZeroAblate(), "mean": MeanAblate(mean)})
    assert list(found.changes) == ["zero", "mean"]
    assert torch.equal(found.counted, counted_tokens(kept))
    run = run_clean(model, site, ids)
    torch.testing.assert_close(found.loss, run.loss)
    for name, edit in {"zero": ZeroAblate(), "mean": MeanAblate(mean)}.items():
        wanted = run.under(Only(edit, kept))
        torch.testing.assert_close(found.changes[name].loss, wanted.loss)
        assert (found.changes[name].loss - run.under(edit).loss).abs().max() > 1e-3


def test_the_clean_pass_is_run_once(model, site, ids, kept):
    passes = []
    hook = model.register_forward_hook(lambda *_: passes.append(1))
    contrast(model, site, ids, kept, {"a": ZeroAblate(), "b": ZeroAblate(), "c": Same()})
    hook.remove()
    assert len(passes) == 4


def test_padding_is_masked(model, site, ids):
    """Padding on the left is seen by later positions unless the mask hides it."""
    mask = torch.ones(3, 8, dtype=torch.int64)
    mask[0, :2] = 0
    masked, plain = run_clean(model, site, ids, mask), run_clean(model, site, ids)
    assert (masked.loss[0, 3:] - plain.loss[0, 3:]).abs().max() > 1e-3
    torch.testing.assert_close(masked.loss[1:], plain.loss[1:])
    change = masked.under(Same())
    torch.testing.assert_close(change.loss, masked.loss)


def test_a_model_in_half_precision_is_compared_in_float32(model, ids):
    half = transformers.GPT2LMHeadModel(model.config).eval().requires_grad_(False)
    half.load_state_dict(model.state_dict())
    half.bfloat16()
    site = sites.resolve(half, "blocks.0.mlp.hook_post")
    run = run_clean(half, site, ids)
    assert run.loss.dtype == run.log_p.dtype == torch.float32
    assert run.activation.dtype == torch.bfloat16
    torch.testing.assert_close(run.loss, _plain_losses(half(ids).logits, ids))


def test_a_model_without_logits_is_refused(ids):
    config = transformers.BertConfig(
        vocab_size=37, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=24, max_position_embeddings=16,
    )  # fmt: skip
    bert = transformers.BertModel(config).eval()
    site = sites.resolve(bert, "blocks.0.mlp.hook_post")
    with pytest.raises(UserError) as caught:
        run_clean(bert, site, ids)
    assert str(caught.value) == (
        "BertModel gives no logits, so no cross-entropy can be measured; use a causal language "
        "model, or measure the reconstruction alone"
    )


def test_several_sites_are_read_and_edited_in_one_run(model, site, ids):
    other = sites.resolve(model, "blocks.1.hook_mlp_out")
    run = run_clean(model, [site, other], ids)
    read = tap.read(model, [site, other], ids)
    assert list(run.activations) == [site.name, other.name]
    for name, values in read.items():
        assert torch.equal(run.activations[name], values)
    with tap.editing(model, {site: ZeroAblate(), other: ZeroAblate()}):
        edited = model(ids).logits
    for both in (ZeroAblate(), {site: ZeroAblate(), other: ZeroAblate()}):
        torch.testing.assert_close(run.under(both).loss, _plain_losses(edited, ids))
    alone = run.under({other: ZeroAblate()})
    assert (alone.loss - run.under(ZeroAblate()).loss).abs().max() > 1e-3
    torch.testing.assert_close(alone.loss, run_clean(model, other, ids).under(ZeroAblate()).loss)


def test_a_site_that_never_runs_is_named(model, site, ids):
    model.never = torch.nn.Identity()
    try:
        nowhere = tap.Site("never", "never", "output", None, 16)
        with pytest.raises(UserError) as caught:
            run_clean(model, [site, nowhere], ids)
    finally:
        del model.never
    assert str(caught.value) == (
        "no activation at never: a forward pass of GPT2LMHeadModel never runs it"
    )
