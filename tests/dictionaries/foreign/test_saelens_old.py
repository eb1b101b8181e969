"""SAELens before 6.0: the same dictionary in the form of today, or a refusal."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from monosemy.dictionaries import files
from monosemy.dictionaries.foreign import saelens_old
from monosemy.dictionaries.foreign.saelens_old import upgraded
from monosemy.dictionaries.semantics import semantics
from monosemy.foundation.errors import UserError

OLD = {
    "d_in": 6, "d_sae": 10, "dtype": "torch.float32", "hook_point": "blocks.2.hook_resid_pre",
    "hook_point_layer": 2, "model_name": "gpt2", "activation_fn_str": "relu", "prepend_bos": True,
}  # fmt: skip


@pytest.fixture
def old(folder):
    """Writes an old configuration beside whole weights."""

    def write(tensors=None, **settings):
        (folder / files.CONFIG).write_text(json.dumps(OLD | settings))
        save_file(load_file(folder / files.WEIGHTS) | (tensors or {}), folder / files.WEIGHTS)
        return folder

    return write


def _refusal(folder):
    with pytest.raises(UserError) as caught:
        saelens_old.read(folder)
    return str(caught.value)


def test_names_and_defaults_of_then():
    assert upgraded(OLD) == {
        "architecture": "standard", "d_in": 6, "d_sae": 10, "dtype": "torch.float32",
        "normalize_activations": "none", "reshape_activations": "none",
        "metadata": {"hook_name": "blocks.2.hook_resid_pre", "model_name": "gpt2",
                     "prepend_bos": True},
    }  # fmt: skip
    assert upgraded(OLD | {"hook_point": "blocks.2.attn.hook_z"})["reshape_activations"] == "hook_z"
    top = upgraded(OLD | {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": 4}})
    assert (top["architecture"], top["k"]) == ("topk", 4)
    assert upgraded(OLD | {"normalize_activations": None})["normalize_activations"] == "none"
    averaged = upgraded(OLD | {"normalize_activations": True})
    assert averaged["normalize_activations"] == "expected_average_only_in"


def test_it_is_read_without_being_named(old):
    found = files.load(old(activation_fn_str="topk", activation_fn_kwargs={"k": 2}))
    assert (found.selection.kind, found.selection.k, found.centred) == ("topk", 2, True)
    assert found.metadata["hook_name"] == "blocks.2.hook_resid_pre"


def test_a_factor_of_finetuning_is_folded_into_the_decoder(old, rows_for):
    plain = files.load(old())
    factor = torch.linspace(0.5, 2, 10)
    tuned, drawn = files.load(old({"scaling_factor": factor})), rows_for(plain)
    assert torch.equal(tuned.encode(drawn), plain.encode(drawn))
    torch.testing.assert_close(
        tuned(drawn), (plain.encode(drawn) * factor) @ plain.W_dec + plain.b_dec
    )
    ones = files.load(old({"scaling_factor": torch.ones(10)}))
    assert semantics(ones)["sha256"] == semantics(plain)["sha256"]


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"activation_fn_str": "tanh-relu"}, "activation_fn = 'tanh-relu'; wanted relu or topk"),
        ({"activation_fn_str": "topk"}, "wanted a whole number under activation_fn_kwargs.k"),
        (
            {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": "many"}},
            "k = 'many'; wanted a whole number from 1 to 10",
        ),
        ({"normalize_activations": True}, "needs the factor that activations are scaled by"),
        ({"architecture": "spline"}, "unknown architecture 'spline'"),
        ({"d_in": 7}, "tensor W_dec has shape (10, 6), wanted (10, 7)"),
        ({"dtype": "torch.int8"}, "dtype = 'torch.int8'; known: float16"),
    ],
)
def test_what_cannot_be(old, settings, reason):
    assert reason in _refusal(old(**settings))


@pytest.mark.parametrize(
    ("factor", "reason"),
    [
        (torch.zeros(3), "scaling_factor has shape (3,), wanted one number a latent"),
        (torch.full((10,), torch.inf), "scaling_factor holds values that are not finite real num"),
    ],
)
def test_a_factor_that_cannot_be(old, factor, reason):
    assert reason in _refusal(old({"scaling_factor": factor}))


def test_the_form_of_today_is_not_read_as_it(folder):
    assert not saelens_old.recognises(folder)
    assert "is in SAELens' form of today; read it as saelens" in _refusal(folder)
