"""Norms as their formulas say, the same as those of real models, and local where they are local."""

from __future__ import annotations

import pytest
import torch

from monosemy.foundation.errors import UserError
from monosemy.models import norms
from monosemy.models.loading import load
from monosemy.models.norms import DivisiveNorm, LayerNorm, PooledNorm, RMSNorm, like, make
from monosemy.models.sites import resolve
from monosemy.models.tap import read


def points(n=50, width=12, seed=0):
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed)).double() * 3 + 1


def test_layer_norm_is_torchs_and_lies_on_its_sphere():
    z = points()
    torch.testing.assert_close(LayerNorm(12)(z), torch.nn.functional.layer_norm(z, (12,)))
    out = LayerNorm(12, eps=0.0)(z)
    assert out.mean(-1).abs().max() < 1e-12
    assert (out.norm(dim=-1) - 12**0.5).abs().max() < 1e-9


def test_rms_norm_is_torchs():
    z = points()
    torch.testing.assert_close(RMSNorm(12)(z), torch.nn.functional.rms_norm(z, (12,), eps=1e-5))


def test_one_pool_without_sigma_is_rms_norm_and_more_are_one_each():
    z = points()
    torch.testing.assert_close(DivisiveNorm(12, 1, 0.0)(z), RMSNorm(12, 0.0)(z))
    out = DivisiveNorm(12, 3, 0.0)(z)
    for block in range(3):
        part = slice(4 * block, 4 * block + 4)
        torch.testing.assert_close(out[:, part], RMSNorm(4, 0.0)(z[:, part]))


def test_what_happens_in_one_pool_stays_there_and_elsewhere_it_does_not():
    z = points()
    louder = z.clone()
    louder[:, 4:] *= 10
    local, everywhere = DivisiveNorm(12, 3), LayerNorm(12)
    torch.testing.assert_close(local(louder)[:, :4], local(z)[:, :4])
    assert (everywhere(louder)[:, :4] - everywhere(z)[:, :4]).abs().mean() > 0.1


def test_sigma_leaves_silence_silent():
    quiet = 1e-4 * points()
    assert DivisiveNorm(12, 3, sigma=0.1)(quiet).abs().max() < 0.02
    assert DivisiveNorm(12, 3, sigma=0.0)(quiet).abs().max() > 0.5


def test_sharp_logits_are_fixed_pools():
    z, pooled = points(), PooledNorm(12, 3, sigma=0.2)
    blocks = torch.nn.functional.one_hot(torch.arange(12) // 4, 3).T
    pooled.logits.data = 60.0 * blocks
    torch.testing.assert_close(pooled.double()(z), DivisiveNorm(12, 3, sigma=0.2).double()(z))
    torch.testing.assert_close(PooledNorm(12, 4).membership.sum(0), torch.ones(12))


@pytest.mark.parametrize("kind", norms.KINDS)
def test_every_kind_has_gain_bias_and_gradients(kind):
    norm = make(kind, 12, pools=3, draw=torch.Generator().manual_seed(0)).double()
    norm.weight.data = torch.arange(12).double()
    norm.bias.data = torch.ones(12).double()
    z = points()
    torch.testing.assert_close(norm(z), norm.normalised(z) * torch.arange(12) + 1)
    norm(z).square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in norm.parameters())


def test_the_specimens_own_norms_are_met_exactly_on_its_own_stream():
    model = load("specimen").model.double()
    ids = torch.arange(64).view(2, 32)
    stream = read(model, [site := resolve(model, "blocks.0.hook_resid_mid")], ids)[site.name]
    theirs = model.transformer.h[0].ln_2
    torch.testing.assert_close(like(theirs)(stream), theirs(stream), atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("name", ["stories260K", "minilm-l6"])
def test_real_models_run_on_our_norms(name, shared_data):
    loaded = load(shared_data / "models" / name)
    ids = torch.arange(5, 45).view(2, 20)
    with torch.no_grad():
        before = loaded.model(ids)[0]
        many = norms.replace_norms(loaded.model)
        after = loaded.model(ids)[0]
    assert many >= 2 * loaded.layers + 1
    torch.testing.assert_close(after, before, atol=2e-5, rtol=1e-4)
    norms.replace_norms(loaded.model, "divisive", pools=4)
    with torch.no_grad():
        assert (loaded.model(ids)[0] - before).abs().max() > 0.01


def test_gemma_keeps_what_is_beyond_one():
    from transformers.models.gemma.modeling_gemma import GemmaRMSNorm

    theirs = GemmaRMSNorm(12)
    theirs.weight.data = torch.linspace(-0.5, 0.5, 12)
    z = points().float()
    torch.testing.assert_close(like(theirs)(z), theirs(z))


def test_refusals():
    with pytest.raises(UserError, match="unknown norm 'layernrom'.*did you mean 'layernorm'"):
        make("layernrom", 4)
    with pytest.raises(UserError) as told:
        DivisiveNorm(10, 3, -1.0)
    assert "3 pools of 10 axes; wanted a number that divides the width" in str(told.value)
    assert "sigma = -1.0; wanted at least 0" in str(told.value)
    with pytest.raises(UserError, match="Linear is no norm"):
        like(torch.nn.Linear(2, 2))
