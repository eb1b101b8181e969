"""True effects of an edit, against plain forward passes and closed forms."""

import json

import pytest
import torch
from torch.nn.functional import log_softmax

from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.selection import TopK
from monosemy.foundation.errors import UserError
from monosemy.interventions.contrast import counted_tokens, run_clean
from monosemy.interventions.edits import Only
from monosemy.interventions.effects import dose_response, rerun, true_effects
from monosemy.interventions.features import Add, Scale, Set, placed
from monosemy.models import sites, tap

VOCABULARY = 37


@pytest.fixture
def dictionary():
    return FlatDictionary.random(24, 40, TopK(4), torch.Generator().manual_seed(0)).eval()


@pytest.fixture
def run(model, site, ids):
    return run_clean(model, site, ids)


def plain(model, edits, ids):
    """Log-probabilities of the edited model in float64."""
    with tap.editing(model, edits):
        return log_softmax(model(ids).logits.double(), -1)


def test_numbers_by_hand(model, site, ids, kept, run, dictionary):
    edit = Set(dictionary, 3, 4.0)
    found = true_effects(run, placed(edit, site), kept, count=VOCABULARY)
    p, q = plain(model, {}, ids), plain(model, {site: Only(edit, kept)}, ids)
    kl = (p.exp() * (p - q)).sum(-1)
    following = ids[:, 1:, None]
    counted = counted_tokens(kept)
    loss = torch.zeros(ids.shape, dtype=torch.float64)
    clean = torch.zeros(ids.shape, dtype=torch.float64)
    loss[:, 1:], clean[:, 1:] = (
        -one[:, :-1].gather(2, following)[..., 0].detach() for one in (q, p)
    )
    torch.testing.assert_close(found.loss.double(), loss, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found.clean_loss.double(), clean, atol=1e-5, rtol=1e-4)
    assert found.loss_change == pytest.approx(float((loss - clean)[counted].mean()), abs=1e-5)
    shifted = torch.zeros_like(kl)
    shifted[:, 1:] = kl[:, :-1]
    torch.testing.assert_close(found.divergence.double(), shifted, atol=1e-5, rtol=1e-4)
    assert found.mean_divergence == pytest.approx(float(shifted[counted].mean()), abs=1e-5)
    assert torch.equal(found.counted, counted)
    rise = q - p
    rise = rise - rise.mean(-1, keepdim=True)
    torch.testing.assert_close(found.rise.double(), rise, atol=1e-4, rtol=1e-4)
    assert len(found.predictions) == ids.numel()
    assert abs(found.loss_change) > 0.01
    for one in found.predictions:
        here = (one.context, one.position)
        assert one.divergence == pytest.approx(float(kl[here]), abs=1e-5)
        gain = q[here].exp() - p[here].exp()
        for change in (*one.raised, *one.lowered):
            i = change.token
            assert change.before == pytest.approx(float(p[here].exp()[i]), abs=1e-6)
            assert change.after == pytest.approx(float(q[here].exp()[i]), abs=1e-6)
            assert change.logit == pytest.approx(float(rise[here][i]), abs=1e-4)
        gains = [change.after - change.before for change in one.raised]
        losses = [change.after - change.before for change in one.lowered]
        assert gains == sorted(gains, reverse=True)
        assert losses == sorted(losses)
        assert all(gain > 0 for gain in gains)
        assert all(loss < 0 for loss in losses)
        if one.divergence > 1e-6:
            assert one.raised[0].token == int(gain.argmax())
            assert one.lowered[0].token == int(gain.argmin())


def test_the_order_may_be_that_of_logits(model, site, run, dictionary):
    edits = placed(Set(dictionary, 3, 4.0), site)
    (found,) = true_effects(run, edits, positions=[-1], count=5, by="logit").predictions[:1]
    rise = true_effects(run, edits, positions=[-1]).rise[0, -1]
    assert [one.token for one in found.raised] == rise.topk(5).indices.tolist()
    assert [one.token for one in found.lowered] == (-rise).topk(5).indices.tolist()
    by_probability = true_effects(run, edits, positions=[-1], count=5).predictions[0]
    assert by_probability != found


def test_what_changes_nothing_has_no_effect(site, run, kept, dictionary):
    found = true_effects(run, placed(Scale(dictionary, 3, 1.0), site), kept)
    assert found.loss_change == 0
    assert found.mean_divergence == 0
    assert all(not one.raised and not one.lowered for one in found.predictions)


def test_only_later_predictions_feel_an_edit(site, run, dictionary):
    kept = torch.zeros(3, 8, dtype=torch.bool)
    kept[:, 5] = True
    found = true_effects(run, placed(Set(dictionary, 3, 9.0), site), kept)
    for one in found.predictions:
        assert (one.divergence > 1e-5) == (one.position >= 5)
    assert (found.divergence[:, :6] == 0).all()
    assert (found.divergence[:, 6] > 1e-5).all()


def test_a_known_logit_is_raised(model, ids):
    """Added before an unembedding without a norm between, a direction raises what it points at."""
    site = sites.resolve(model, "ln_final")
    unembedding = model.get_output_embeddings().weight
    direction = unembedding[7] / unembedding[7].norm()
    found = true_effects(run_clean(model, site, ids), {site: Add(direction, 2.0)}, by="logit")
    wanted = 2.0 * (unembedding @ direction)
    wanted = (wanted - wanted.mean()).expand(3, 8, -1)
    torch.testing.assert_close(found.rise, wanted, atol=1e-4, rtol=1e-4)


def test_padding_is_seen_as_in_the_clean_run(model, site, ids, dictionary):
    mask = torch.ones(3, 8, dtype=torch.int64)
    mask[0, :2] = 0
    run = run_clean(model, site, ids, mask)
    assert true_effects(run, {site: Scale(dictionary, 0, 1.0)}).mean_divergence == 0
    edited = rerun(run, {site: Set(dictionary, 0, 3.0)})
    whole = rerun(run_clean(model, site, ids), {site: Set(dictionary, 0, 3.0)})
    assert (edited.loss[0] - whole.loss[0]).abs().max() > 1e-3
    torch.testing.assert_close(edited.loss[1:], whole.loss[1:])


def test_json_is_json_with_and_without_words(site, run, kept, dictionary):
    found = true_effects(run, placed(Set(dictionary, 3, 4.0), site), kept, positions=[2, -1])
    said = found.to_json(lambda i: f"<{i}>")
    assert json.loads(json.dumps(said, allow_nan=False)) == said
    first = said["predictions"][0]["raised"][0]
    assert first["text"] == f"<{first['token']}>"
    assert [one["position"] for one in said["predictions"]] == [2, 7] * 3
    assert len(said["tokens"]) == 3
    assert [one["token"] for one in said["tokens"][1]] == run.ids[1].tolist()
    assert "text" not in found.to_json()["predictions"][0]["raised"][0]


def test_bad_questions_are_refused_together(site, run):
    with pytest.raises(UserError) as caught:
        true_effects(run, {}, positions=[8, -9, 3], by="size")
    for reason in ("position 8; contexts here have 8", "position -9;",
                   "ordered by 'size'; known: probability, logit"):  # fmt: skip
        assert reason in str(caught.value)


# --- dose response --------------------------------------------------------------------------------


def test_doses_are_runs_of_their_own(model, site, ids, kept, run, dictionary):
    strengths = (-2.0, 0.5, 6.0)
    doses = {s: placed(Set(dictionary, 3, s), site) for s in strengths}
    passes = []
    hook = model.register_forward_hook(lambda *_: passes.append(1))
    found = dose_response(run, doses, kept, tokens=[4, 9])
    hook.remove()
    assert len(passes) == len(strengths)  # the clean run is not run again
    assert found.tokens == int(counted_tokens(kept).sum())
    assert [one.strength for one in found.doses] == list(strengths)
    for one in found.doses:
        edits = {site: Only(Set(dictionary, 3, one.strength), kept)}
        wanted = true_effects(run, edits, kept)
        assert one.loss_change == pytest.approx(wanted.loss_change, abs=1e-6)
        assert one.divergence == pytest.approx(wanted.mean_divergence, abs=1e-6)
        q = plain(model, edits, ids)[kept].exp()
        for token in (4, 9):
            assert one.probabilities[token] == pytest.approx(float(q[:, token].mean()), abs=1e-6)
    p = plain(model, {}, ids)[kept].exp()
    assert found.clean_probabilities[9] == pytest.approx(float(p[:, 9].mean()), abs=1e-6)
    assert found.clean_loss == pytest.approx(float(run.loss[counted_tokens(kept)].mean()), abs=1e-6)


def test_at_one_position(model, site, ids, run, dictionary):
    edits = placed(Set(dictionary, 3, 4.0), site)
    found = dose_response(run, {1: edits}, tokens=[4], position=-2)
    wanted = plain(model, edits, ids)[:, 6].exp()[:, 4].mean()
    assert found.doses[0].probabilities[4] == pytest.approx(float(wanted), abs=1e-6)
    said = found.to_json(str)
    assert json.loads(json.dumps(said, allow_nan=False)) == said


def test_a_logit_rises_evenly_with_the_dose(model, ids):
    """Right before the unembedding the effect on a logit is linear, so its probability is known."""
    site = sites.resolve(model, "ln_final")
    direction = model.get_output_embeddings().weight[7].clone()
    run = run_clean(model, site, ids)
    doses = {s: {site: Add(direction, s)} for s in (0.0, 0.5, 1.0)}
    found = dose_response(run, doses, tokens=[7])
    rises = [one.probabilities[7] for one in found.doses]
    assert rises == sorted(rises)
    logits = model(ids).logits
    lifted = logits + 0.5 * (model.get_output_embeddings().weight @ direction)
    wanted = lifted.softmax(-1)[..., 7].mean()
    assert found.doses[1].probabilities[7] == pytest.approx(float(wanted), abs=1e-5)
    assert found.doses[0].loss_change == 0


def test_doses_that_mean_nothing_are_refused_together(site, run):
    with pytest.raises(UserError) as caught:
        dose_response(run, {}, torch.zeros(3, 8, dtype=torch.bool), tokens=[37, 2], position=8)
    for reason in ("no strengths to compare", "position 8; contexts here have 8 of them",
                   "no token 37; the model knows 37", "no token has a kept position"):  # fmt: skip
        assert reason in str(caught.value)
