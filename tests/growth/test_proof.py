"""How far logits lie apart."""

import pytest
import torch

from monosemy.growth.double import in_double
from monosemy.growth.proof import EXACT, Difference, differ, differ_on, worst


def test_a_difference_by_hand(tiny, ids):
    """The unembedding's bias-free logits are linear in the head: one row off by e moves by e |x|."""
    model = tiny("gpt2, untied")
    other = in_double(model)
    with torch.no_grad():
        other.lm_head.weight[5] *= 1.5
    logits = model(ids).logits.detach()
    found = differ(model, other, ids)
    assert found.absolute == pytest.approx(0.5 * float(logits[..., 5].abs().max()), rel=1e-12)
    assert found.largest == pytest.approx(float(logits.abs().max()), rel=1e-12)
    assert found.predictions == ids.numel()
    assert found.relative == found.absolute / found.largest


def test_the_same_model_does_not_differ(model, ids):
    assert differ(model, model, ids).relative == 0 < EXACT


def test_what_is_not_finite_is_no_proof(tiny, ids):
    model = tiny("gpt2")
    other = in_double(model)
    with torch.no_grad():
        other.transformer.ln_f.bias[0] = float("nan")
    assert differ(model, other, ids).absolute == float("inf")


def test_each_kind_of_tokens_counts(tiny, ids):
    model = tiny("gpt2")
    found = differ_on(model, model, {"a": ids, "b": ids[:1]})
    assert {name: one.predictions for name, one in found.items()} == {"a": 36, "b": 12}
    assert worst({"a": Difference(1.0, 10.0, 1), "b": Difference(0.5, 1.0, 1)}).absolute == 0.5
