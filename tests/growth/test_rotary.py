"""Old pairs keep their frequencies in wider heads."""

from types import SimpleNamespace

import pytest
import torch
import transformers

from monosemy.growth import rotary
from monosemy.growth.double import InDouble


def _frequencies(config):
    with InDouble():
        embedding = transformers.models.llama.modeling_llama.LlamaRotaryEmbedding(config)
    return embedding.inv_freq


def _config(head, **parameters):
    return transformers.LlamaConfig(
        hidden_size=32, num_attention_heads=4, head_dim=head, max_position_embeddings=64,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0, **parameters},
    )  # fmt: skip


LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 16}  # fmt: skip


@pytest.mark.parametrize("more", [{}, {"rope_type": "linear", "factor": 3.0}, LLAMA3])
def test_the_series_of_frequencies_goes_on(more):
    old = _config(8, **more)
    assert rotary.problems(old, "all", 8, 14) == []
    said = rotary.kept(old, "all", 8, 14)["rope_parameters"]
    new = _frequencies(_config(14, **said))
    torch.testing.assert_close(new[:4], _frequencies(old), rtol=1e-14, atol=0)
    assert len(new) == 7
    # With the old base they would be others.
    assert (_frequencies(_config(14, **more))[:4] / _frequencies(old) - 1).abs().max() > 0.1


def test_both_numbers_of_a_pair_move_together():
    assert rotary.places("all", 4, 10).tolist() == [0, 1, 5, 6]
    assert rotary.places("part", 4, 10).tolist() == [0, 1, 2, 3]
    assert rotary.places("", 4, 10).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(("old", "share"), [(64, 0.25), (6, 0.25), (80, 0.3), (6, 1.0)])
def test_as_many_numbers_turn_in_a_wider_head(old, share):
    config = SimpleNamespace(rope_parameters={"rope_theta": 1e4, "partial_rotary_factor": share})
    for new in range(old + 1, old + 40):
        said = rotary.kept(config, "part", old, new)["rope_parameters"]
        assert int(new * said["partial_rotary_factor"]) == int(old * share)
    assert rotary.problems(config, "part", old, old + 1) == []


def test_configurations_of_older_versions():
    old = SimpleNamespace(rope_theta=1e4, rope_scaling=None)
    assert rotary.kept(old, "all", 8, 16) == {"rope_theta": pytest.approx(1e8)}
    neox = SimpleNamespace(rope_theta=1e4, rotary_pct=0.25)
    assert rotary.kept(neox, "part", 16, 32) == {"rotary_pct": 0.125}


def test_what_depends_on_the_width_is_refused():
    assert (
        "'dynamic'" in rotary.problems(_config(8, rope_type="dynamic", factor=2.0), "all", 8, 10)[0]
    )
    assert "even number" in rotary.problems(_config(8), "all", 8, 9)[0]
    assert rotary.problems(_config(8), "all", 8, 8) == []
