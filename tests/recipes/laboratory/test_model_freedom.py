"""What goes through the norms of the specimen and of real models, and the keys of their heads."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from monosemy.foundation.errors import UserError
from monosemy.models.norms import LayerNorm
from monosemy.recipes.laboratory import model_freedom
from monosemy.recipes.laboratory.model_freedom import head_keys, measure_model, numbers_of
from monosemy.tensors.compute import Compute


@pytest.fixture(autouse=True)
def few_keys(monkeypatch):
    monkeypatch.setattr(model_freedom, "HEAD_KEYS", 6)


def measured(model="specimen", site="", text="stdlib", tokens=512):
    return measure_model(model, site, text, tokens, Compute())


def test_the_specimens_norms_lose_two_dimensions():
    norms, keys = measured()
    assert [norm["norm"] for norm in norms] == [
        "transformer.h.0.ln_1", "transformer.h.0.ln_2", "transformer.ln_f",
    ]  # fmt: skip
    for norm in norms:
        assert norm["kind"] == "LayerNorm"
        assert (norm["span"], norm["intrinsic"], norm["n"]) == (127, 126, 512)
        assert 0 < norm["radial_value"] < 0.05
        assert 1 < norm["participation"] < 127
    assert norms[2]["raw"]["span"] == 128
    assert [(one["heads"], one["head_width"], one["keys"]) for one in keys] == [(4, 32, 6)]


def test_a_site_of_the_stream_goes_through_a_norm_of_the_models_kind():
    ((norm,), _) = measured(site="blocks.0.hook_resid_mid")
    assert (norm["norm"], norm["span"]) == ("blocks.0.hook_resid_mid", 127)


@pytest.mark.parametrize(
    ("name", "lost"),
    [("stories260K", 1), pytest.param("minilm-l6", 2, marks=pytest.mark.slow)],
)
def test_real_models(name, lost, shared_data):
    model, text = str(shared_data(f"models/{name}")), str(shared_data("text/tinyshakespeare"))
    site = "model.norm" if lost == 1 else "encoder.layer.2.output.LayerNorm"
    ((norm,), keys) = measured(model, site, text, 256 if lost == 1 else 1024)
    assert norm["width"] - norm["intrinsic"] == lost
    assert norm["width"] - norm["span"] == lost - 1
    assert len(keys) == (5 if lost == 1 else 6)
    assert all(0 <= one["unselectable"] <= 1 for one in keys)


def test_a_planted_stream_is_described_exactly():
    draw = torch.Generator().manual_seed(0)
    norm = LayerNorm(8)
    flat = torch.randn(400, 8, generator=draw)
    flat -= flat.mean(1, keepdim=True)
    assert numbers_of(norm, flat)["along_ones"] < 1e-12
    assert numbers_of(norm, flat)["raw"]["span"] == 7
    along = numbers_of(norm, flat * 0.01 + 1)["along_ones"]
    assert along > 0.99


def test_keys_of_heads_are_cut_out_of_their_projection(monkeypatch):
    """A square and its middle as keys of one head, corners alone as those of another."""
    corners = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    first = torch.cat([corners, torch.zeros(1, 2)])
    second = torch.cat([corners, torch.tensor([[3.0, 0]])])
    # Queries, keys and values side by side, as GPT-2 has them.
    rows = torch.cat([torch.zeros(5, 4), first, second, torch.zeros(5, 4)], dim=1)
    rows = torch.cat([rows, rows[:2]])  # what comes twice is asked once
    reader = SimpleNamespace(rows=lambda start, stop: {"h.c_attn": rows})
    monkeypatch.setattr(model_freedom, "Reader", lambda *given: reader)
    site = SimpleNamespace(name="h.c_attn", module="h.c_attn")
    monkeypatch.setattr(model_freedom, "resolve", lambda model, path: site)
    model = SimpleNamespace(
        config=SimpleNamespace(num_attention_heads=2),
        named_modules=lambda: [("h", None), ("h.c_attn", None)],
    )
    inner = head_keys.__wrapped__ if hasattr(head_keys, "__wrapped__") else head_keys
    (one,) = inner(SimpleNamespace(model=model), SimpleNamespace(tokens=5))
    assert one["keys"] == 5
    assert one["unselectable"] == pytest.approx(1 / 10)


def test_refusals():
    with pytest.raises(UserError, match="100 tokens for a stream of 128 axes; wanted at least 256"):
        measured(tokens=100)
    with pytest.raises(UserError, match="unknown site 'transformer.ln_g'.*did you mean"):
        measured(site="transformer.ln_g")
