"""From settings to findings about freedom; in the specimen and in real models too."""

from __future__ import annotations

import json

import pytest
import torch

from monosemy.foundation.errors import UserError
from monosemy.models.norms import LayerNorm
from monosemy.recipes.laboratory import freedom
from monosemy.recipes.laboratory.freedom import (
    FreedomConfig,
    claim_of,
    expected,
    measure_freedom,
    numbers_of,
    picture,
)
from monosemy.tensors.compute import Compute

SMALL = {"width": 12, "pools": 3, "draws": 1, "keys": 15}


def test_toys_meet_their_formulas_and_the_json_says_so():
    found = measure_freedom(FreedomConfig(**SMALL), Compute())
    told = found.to_json()
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    for kind, (wide, deep) in expected(12, 3).items():
        assert (told[kind]["span"], told[kind]["intrinsic"]) == (wide, deep)
    assert told["unselectable_keys"]["share"]["4"]["layernorm"] == 0
    assert told["model"] is None
    assert claim_of(found, Compute(), {}).verdict in ("holds", "holds in part")
    assert picture(found).svg.startswith("<?xml")


def test_with_sigma_nothing_is_lost():
    told = measure_freedom(FreedomConfig(**SMALL, sigma=0.5), Compute()).to_json()
    assert told["divisive"]["intrinsic"] == 12


def test_the_specimens_norms_lose_two_dimensions():
    config = FreedomConfig(**SMALL, model="specimen", site="transformer.ln_f", tokens=512)
    (norm,) = measure_freedom(config, Compute()).norms
    assert norm["kind"] == "LayerNorm"
    assert (norm["raw"]["span"], norm["span"], norm["intrinsic"]) == (128, 127, 126)
    assert 0 < norm["radial_value"] < 0.01
    assert 1 < norm["participation"] < 127
    assert norm["n"] == 512


def test_a_site_of_the_stream_goes_through_a_norm_of_the_models_kind():
    config = FreedomConfig(**SMALL, model="specimen", site="blocks.0.hook_resid_mid", tokens=512)
    (norm,) = measure_freedom(config, Compute()).norms
    assert (norm["norm"], norm["span"]) == ("blocks.0.hook_resid_mid", 127)


@pytest.mark.parametrize(("name", "lost"), [("stories260K", 1), ("minilm-l6", 2)])
def test_real_models(name, lost, shared_data):
    model, text = str(shared_data(f"models/{name}")), str(shared_data("text/tinyshakespeare"))
    site = "model.norm" if lost == 1 else "encoder.layer.2.output.LayerNorm"
    config = FreedomConfig(**SMALL, model=model, site=site, text=text, tokens=1024)
    (norm,) = measure_freedom(config, Compute()).norms
    assert norm["width"] - norm["intrinsic"] == lost
    assert norm["width"] - norm["span"] == lost - 1


def test_a_planted_stream_is_described_exactly():
    draw = torch.Generator().manual_seed(0)
    norm = LayerNorm(8)
    flat = torch.randn(400, 8, generator=draw)
    flat -= flat.mean(1, keepdim=True)
    assert numbers_of(norm, flat)["along_ones"] < 1e-12
    assert numbers_of(norm, flat)["raw"]["span"] == 7
    along = numbers_of(norm, flat * 0.01 + 1)["along_ones"]
    assert along > 0.99


def test_a_wrong_norm_fails_the_claim(monkeypatch):
    monkeypatch.setattr(freedom, "expected", lambda width, pools: {"layernorm": (12, 11)})
    found = measure_freedom(FreedomConfig(**SMALL), Compute())
    assert claim_of(found, Compute(), {}).verdict == "holds in part"


def test_refusals():
    with pytest.raises(UserError) as told:
        FreedomConfig(width=2, sigma=-1, draws=0, keys=1, site="x")
    for reason in (
        "width = 2; wanted at least 4",
        "sigma = -1",
        "draws = 0",
        "keys = 1",
        "without a model",
    ):
        assert reason in str(told.value)
    with pytest.raises(UserError, match="pools = 12 of one axis each"):
        FreedomConfig(width=12, pools=12)
    with pytest.raises(UserError, match="100 tokens for a stream of 128 axes; wanted at least 256"):
        measure_freedom(FreedomConfig(model="specimen", tokens=100), Compute())
    with pytest.raises(UserError, match="unknown site 'transformer.ln_g'.*did you mean"):
        measure_freedom(FreedomConfig(model="specimen", site="transformer.ln_g"), Compute())
