"""The whole road, against the same numbers computed plainly."""

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import cross_entropy, kl_div, log_softmax

from monosemy.dictionaries import baselines
from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.selection import TopK
from monosemy.evaluation.measure import measure
from monosemy.foundation.errors import UserError
from monosemy.models import sites, tap
from monosemy.models.loading import LoadedModel
from monosemy.tensors.compute import Compute

RECONSTRUCTION = [
    "l0", "explained_variance", "explained_variance_per_token", "explained_variance_uncentred",
    "cosine", "mse", "l2_ratio", "relative_reconstruction_bias", "dead_fraction", "dense_fraction",
]  # fmt: skip
SPLICED = [
    "ce_clean", "ce_spliced", "ce_zero", "ce_mean", "ce_recovered_zero", "ce_recovered_mean",
    "kl_recovered_zero", "kl_recovered_mean",
]  # fmt: skip


def _plain_losses(loaded, site, contexts, replacement):
    """Mean cross-entropy and divergence of predicted kept tokens, one context at a time."""
    losses, divergences = [], []
    for ids, kept in zip(contexts.ids, contexts.kept, strict=True):

        def edit(activation, kept=kept):
            return torch.where(kept[None, :, None], replacement(activation), activation)

        clean = loaded.model(ids[None]).logits[0, :-1]
        with tap.editing(loaded.model, {site: edit}):
            edited = loaded.model(ids[None]).logits[0, :-1]
        counts = kept[1:]
        losses.append(cross_entropy(edited, ids[1:], reduction="none")[counts])
        p, q = log_softmax(clean, -1), log_softmax(edited, -1)
        divergences.append(kl_div(q, p, log_target=True, reduction="none").sum(-1)[counts])
    return float(torch.cat(losses).mean()), float(torch.cat(divergences).mean())


def _measure(loaded, site, dictionaries, contexts, rows, **options):
    return measure(loaded, site, dictionaries, contexts, rows.mean(0), **options)


def test_every_number_is_the_one_computed_plainly(loaded, site, contexts, rows, dictionaries):
    found = _measure(loaded, site, dictionaries, contexts, rows)
    mean = rows.mean(0)
    clean = _plain_losses(loaded, site, contexts, lambda x: x)[0]
    zero, kl_zero = _plain_losses(loaded, site, contexts, torch.zeros_like)
    averaged, kl_mean = _plain_losses(loaded, site, contexts, lambda x: mean.expand_as(x))
    assert clean < min(zero, averaged) - 0.02
    for name, dictionary in dictionaries.items():
        splice = lambda x, d=dictionary: d(x.flatten(0, 1)).view_as(x)  # noqa: E731
        spliced, kl = _plain_losses(loaded, site, contexts, splice)
        x, x_hat, code = rows, dictionary(rows).detach(), dictionary.encode(rows)
        error = (x - x_hat).square().sum(1)
        density = (code != 0).float().mean(0)
        wanted = {
            "l0": float((code != 0).sum(1).float().mean()),
            "explained_variance": 1 - float(error.sum() / (x - mean).square().sum()),
            "mse": float(error.mean()),
            "cosine": float(torch.cosine_similarity(x, x_hat).mean()),
            "dead_fraction": float((density == 0).float().mean()),
            "dense_fraction": float((density > 0.1).float().mean()),
            "ce_clean": clean,
            "ce_spliced": spliced,
            "ce_zero": zero,
            "ce_mean": averaged,
            "ce_recovered_zero": (zero - spliced) / (zero - clean),
            "ce_recovered_mean": (averaged - spliced) / (averaged - clean),
            "kl_recovered_zero": (kl_zero - kl) / kl_zero,
            "kl_recovered_mean": (kl_mean - kl) / kl_mean,
        }
        values = {metric: e.value for metric, e in found[name].estimates.items()}
        assert {m: values[m] for m in wanted} == pytest.approx(wanted, rel=1e-3, abs=1e-5)
        torch.testing.assert_close(found[name].density, density)
        assert (found[name].tokens, found[name].documents) == (65, 5)
        assert list(values) == RECONSTRUCTION + SPLICED


def test_the_numbers_can_tell_dictionaries_apart(loaded, site, contexts, rows):
    pca = {k: baselines.principal_components(rows, k).eval() for k in (1, 8)}
    found = _measure(loaded, site, {"few": pca[1], "many": pca[8]}, contexts, rows)
    few, many = found["few"].estimates, found["many"].estimates
    for metric in ("explained_variance", "cosine", "kl_recovered_zero", "kl_recovered_mean"):
        assert few[metric].value < many[metric].value
    assert few["ce_clean"] == many["ce_clean"]


def test_a_perfect_dictionary_recovers_everything(loaded, site, contexts, rows):
    perfect = baselines.neurons(site.width, site.width).eval()
    found = _measure(loaded, site, {"perfect": perfect}, contexts, rows)["perfect"].estimates
    for metric in ("explained_variance", "ce_recovered_zero", "kl_recovered_zero"):
        assert found[metric].value == pytest.approx(1, abs=1e-4)
    assert found["ce_spliced"].value == pytest.approx(found["ce_clean"].value, abs=1e-5)


def test_groups_and_company_do_not_matter(loaded, site, contexts, rows, dictionaries):
    whole = _measure(loaded, site, dictionaries, contexts, rows)
    for batch in (1, 4):
        parts = _measure(loaded, site, dictionaries, contexts, rows, batch=batch)
        alone = _measure(loaded, site, {"topk": dictionaries["topk"]}, contexts, rows, batch=batch)
        for other in (parts["topk"], alone["topk"]):
            for metric, one in whole["topk"].estimates.items():
                found = other.estimates[metric]
                assert (found.low is None) == (one.low is None), metric
                bounds = [v for v in (one.value, one.low, one.high) if v is not None]
                others = [v for v in (found.value, found.low, found.high) if v is not None]
                assert others == pytest.approx(bounds, rel=1e-3, abs=1e-6), metric


def test_intervals_repeat_with_the_seed(loaded, site, contexts, rows, dictionaries):
    def intervals(seed):
        found = _measure(
            loaded, site, dictionaries, contexts, rows, splice=False, compute=Compute(seed=seed)
        )
        return found["topk"].to_json()

    assert intervals(0) == intervals(0)
    assert intervals(0) != intervals(1)


def test_every_token_is_encoded_once(loaded, site, contexts, rows, dictionaries, monkeypatch):
    seen = []
    encode = FlatDictionary.code
    monkeypatch.setattr(
        FlatDictionary, "code", lambda self, x: (seen.append(len(x)), encode(self, x))[1]
    )
    _measure(loaded, site, {"topk": dictionaries["topk"]}, contexts, rows, batch=2)
    assert sum(seen) == contexts.tokens


def test_the_mode_of_a_dictionary_comes_back(loaded, site, contexts, rows, dictionaries):
    measured = _measure(loaded, site, dictionaries, contexts, rows)["batchtopk"]
    training = {"batchtopk": dictionaries["batchtopk"].train()}
    again = _measure(loaded, site, training, contexts, rows)["batchtopk"]
    assert again.to_json() == measured.to_json()
    assert training["batchtopk"].training
    assert training["batchtopk"].selection.training
    assert float(training["batchtopk"].selection.threshold) == 0.5


def test_padding_and_beginnings_are_never_counted(loaded, site, contexts, rows, dictionaries):
    """Their activations are far larger here; a dictionary that saw them would do worse."""
    found = _measure(loaded, site, dictionaries, contexts, rows)["topk"]
    everything = replace(contexts, kept=torch.ones_like(contexts.kept))
    other = _measure(loaded, site, dictionaries, everything, rows)["topk"]
    assert (found.tokens, other.tokens) == (65, 72)
    assert found.estimates["mse"].value != pytest.approx(other.estimates["mse"].value, rel=1e-3)


def test_json_form(loaded, site, contexts, rows, dictionaries):
    found = _measure(loaded, site, dictionaries, contexts, rows)["topk"].to_json()
    assert list(found) == RECONSTRUCTION + SPLICED
    assert set(found["mse"]) == {"value", "low", "high"}
    assert found["mse"]["low"] < found["mse"]["value"] < found["mse"]["high"]


# --- models and requests without cross-entropy ----------------------------------------------------


def test_without_splicing_losses_are_null_with_the_note_given(
    loaded, site, contexts, rows, dictionaries
):
    passes = []
    hook = loaded.model.register_forward_hook(lambda *_: passes.append(1))
    found = _measure(
        loaded, site, dictionaries, contexts, rows, splice=False, note="a random model"
    )
    hook.remove()
    spliced = _measure(loaded, site, dictionaries, contexts, rows)
    assert not passes  # no logits were computed
    for name, one in found.items():
        json = one.to_json()
        for metric in SPLICED:
            assert json[metric] == {
                "value": None, "low": None, "high": None, "note": "a random model"
            }  # fmt: skip
        for metric in RECONSTRUCTION:
            assert json[metric] == spliced[name].to_json()[metric]
    plain = _measure(loaded, site, dictionaries, contexts, rows, splice=False)
    assert plain["topk"].estimates["ce_clean"].note == "not measured"


def test_an_encoder_has_no_next_token(encoder, contexts):
    site = sites.resolve(encoder.model, "blocks.0.mlp.hook_post")
    dictionary = FlatDictionary.random(site.width, 30, TopK(3), torch.Generator().manual_seed(0))
    found = measure(encoder, site, {"it": dictionary}, contexts, torch.zeros(site.width))["it"]
    assert found.estimates["explained_variance"].value is not None
    assert found.estimates["ce_clean"].note == (
        "the model does not predict the next token, so it has no cross-entropy"
    )


def test_a_model_that_ablation_does_not_hurt(loaded, site, contexts, rows, dictionaries):
    """The site's output weights are zero, so nothing that happens there matters."""
    model = type(loaded.model)(loaded.model.config).eval().requires_grad_(False)
    model.load_state_dict(loaded.model.state_dict())
    model.transformer.h[0].mlp.c_proj.weight.zero_()
    deaf = LoadedModel("deaf", model, None, "gpt2", 16)
    found = _measure(deaf, site, dictionaries, contexts, rows)["topk"].estimates
    assert found["ce_recovered_zero"].value is None
    assert "nothing to recover" in found["ce_recovered_zero"].note
    assert found["explained_variance"].value is not None


# --- half precision, bounded memory ---------------------------------------------------------------


def test_a_model_in_half_precision(loaded, site, contexts, rows, dictionaries):
    model = type(loaded.model)(loaded.model.config).eval().requires_grad_(False)
    model.load_state_dict(loaded.model.state_dict())
    half = replace(loaded, model=model.bfloat16())
    exact = _measure(loaded, site, dictionaries, contexts, rows)["topk"].estimates
    found = _measure(half, site, dictionaries, contexts, rows)["topk"].estimates
    for metric in ("l0", "cosine", "ce_clean", "ce_spliced"):
        assert found[metric].value == pytest.approx(exact[metric].value, rel=0.05)


def test_fewer_contexts_at_once_where_the_vocabulary_is_large(
    loaded, site, contexts, rows, dictionaries, monkeypatch
):
    sizes = []
    hook = loaded.model.register_forward_pre_hook(
        lambda _, args, given: sizes.append(len(given["input_ids"])), with_kwargs=True
    )
    monkeypatch.setattr("monosemy.evaluation.measure._LOGITS", 3 * 8 * 37 + 1)
    _measure(loaded, site, dictionaries, contexts, rows)
    hook.remove()
    assert max(sizes) == 3
    assert len(contexts) > 3


# --- refusals -------------------------------------------------------------------------------------


def test_every_misfit_is_named_at_once(loaded, site, contexts, rows):
    wrong = FlatDictionary.random(9, 12, TopK(3), torch.Generator().manual_seed(0))
    nothing = replace(contexts, kept=torch.zeros_like(contexts.kept))
    with pytest.raises(UserError) as caught:
        measure(loaded, site, {"wrong": wrong}, nothing, rows.mean(0)[:5], batch=0)
    assert str(caught.value) == (
        "this measurement has 4 problems:\n"
        "  - wrong: site blocks.0.mlp.hook_post has 24 numbers an activation, the dictionary 9; "
        "name the site it was trained on\n"
        "  - the mean has 5 numbers, site blocks.0.mlp.hook_post 24\n"
        "  - batch is 0 contexts; wanted at least 1\n"
        "  - no token is kept, so there is nothing to measure; give more text"
    )


def test_no_dictionaries_and_long_contexts(loaded, site, contexts, rows, dictionaries):
    with pytest.raises(UserError, match="no dictionary to measure; give at least one"):
        _measure(loaded, site, {}, contexts, rows)
    short = replace(loaded, context=4)
    with pytest.raises(UserError, match="contexts of 8 positions are longer than the 4 that tiny"):
        _measure(short, site, dictionaries, contexts, rows)


@pytest.mark.parametrize("splice", [True, False])
def test_activations_that_are_not_finite_are_named(
    loaded, site, contexts, rows, dictionaries, splice
):
    token = 40
    assert (rows[:token] - rows[token]).norm(dim=1).min() > 0.01

    def spoil(activation):
        here = (activation - rows[token]).norm(dim=-1, keepdim=True) < 0.001
        return activation.masked_fill(here, float("nan"))

    with tap.editing(loaded.model, {site: spoil}), pytest.raises(UserError) as caught:
        _measure(loaded, site, dictionaries, contexts, rows, batch=2, splice=splice)
    assert str(caught.value) == (
        "activation at site blocks.0.mlp.hook_post is not finite: document 'd', character 1 "
        "(context 5, position 4); if a lower precision overflowed, try --dtype float32"
    )
    assert str(contexts.place(token)) in str(caught.value)


class _Watched:
    """Progress that keeps what it is told."""

    def __init__(self):
        self.total, self.done = 0, 0

    def task(self, description, total, unit=""):
        from contextlib import nullcontext

        self.total = total
        return nullcontext(self)

    def advance(self, amount=1, note=""):
        self.done += amount


def test_progress_counts_every_token(loaded, site, contexts, rows, dictionaries):
    watched = _Watched()
    _measure(loaded, site, dictionaries, contexts, rows, batch=2, progress=watched)
    assert watched.total == watched.done == contexts.tokens
