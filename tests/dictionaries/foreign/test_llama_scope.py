import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.foreign import llamascopium
from monosemy.dictionaries.foreign.llama_scope import FORMAT
from monosemy.dictionaries.selection import JumpReLU, ReLU, TopK
from monosemy.dictionaries.transcoders import Transcoder
from monosemy.foundation.errors import UserError

REFERENCE = Path(__file__).parents[2] / "reference" / "llama_scope"
CASES = ("L2R-8x", "L2R-8x-free", "R1-L2R", "R1-L2R-free")
SITE = "blocks.2.hook_resid_post"
NORM = "dataset_average_activation_norm"


def _difference(dictionary, recorded):
    with torch.no_grad():
        found = dictionary.encode(recorded["x"]), dictionary(recorded["x"])
    wanted = recorded["code"], recorded["reconstruction"]
    return max(
        float((f - w).abs().max() / w.abs().max()) for f, w in zip(found, wanted, strict=True)
    )


def _changed(folder, case="L2R-8x", tensors=None, **settings):
    """A copy of a recorded folder with other settings and tensors; `None` removes one."""
    at = folder / case
    shutil.rmtree(at, ignore_errors=True)
    shutil.copytree(REFERENCE / case, at)
    (config,) = at.glob("*.json")
    (weights,) = at.rglob("*.safetensors")
    found = json.loads(config.read_text()) | settings
    config.write_text(json.dumps({key: value for key, value in found.items() if value is not None}))
    stored = load_file(weights) | (tensors or {})
    save_file({name: t for name, t in stored.items() if t is not None}, weights)
    return at


def _read(at):
    return FORMAT.read(at)[""]


def _refusal(at):
    with pytest.raises(UserError) as caught:
        FORMAT.read(at)
    return str(caught.value)


def _as_lm_saes_folds(at):
    """Its own reading, step by step: scales into the weights, rows to length one, a threshold."""
    config = json.loads((at / "hyperparams.json").read_text())
    weights = load_file(at / "checkpoints/final.safetensors")
    W_enc, b_enc = weights["encoder.weight"].double(), weights["encoder.bias"].double()
    W_dec, b_dec = weights["decoder.weight"].T.double(), weights["decoder.bias"].double()
    scale = {side: config["d_model"] ** 0.5 / norm for side, norm in config[NORM].items()}
    b_enc, b_dec = b_enc / scale["in"], b_dec / scale["out"]
    W_dec = W_dec * scale["in"] / scale["out"]
    if config["sparsity_include_decoder_norm"]:
        length = W_dec.norm(dim=1)
        W_dec, W_enc, b_enc = W_dec / length[:, None], W_enc * length[:, None], b_enc * length

    def run(x):
        pre = x.double() @ W_enc.T + b_enc
        if config["act_fn"] == "topk" and not config["jump_relu_threshold"]:
            least = pre.clamp_min(0).topk(config["top_k"]).values[:, -1:]
            code = pre * ((pre >= least) & (pre > 0))
        else:
            code = pre * (pre > config["jump_relu_threshold"])
        return code, code @ W_dec + b_dec

    return run, scale


@pytest.mark.parametrize("case", CASES)
def test_codes_and_reconstructions_are_those_of_saelens_and_llamascopium(case):
    assert FORMAT.recognises(REFERENCE / case)
    assert not llamascopium.FORMAT.recognises(REFERENCE / case)
    dictionary, recorded = _read(REFERENCE / case), load_file(REFERENCE / f"{case}.safetensors")
    assert _difference(dictionary, recorded) < 1e-6
    assert 0.2 < (recorded["code"] != 0).float().mean() < 0.8
    assert dictionary.metadata == {"hook_name": SITE}
    assert not dictionary.training


@pytest.mark.parametrize("case", CASES)
def test_a_threshold_or_a_scale_left_out_would_be_seen(case):
    recorded = load_file(REFERENCE / f"{case}.safetensors")
    assert _difference(_read(REFERENCE / case).inner, recorded) > 0.01
    dictionary = _read(REFERENCE / case)
    dictionary.inner.selection = ReLU()
    assert _difference(dictionary, recorded) > 0.01


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"sparsity_include_decoder_norm": False},
        {"act_fn": "topk"},
        {"act_fn": "topk", "jump_relu_threshold": 0.0, "top_k": 3},
        {"hook_point_out": "blocks.2.hook_mlp_out", NORM: {"in": 3.0, "out": 0.75}},
    ],
)
def test_rows_of_any_length_are_read_as_lm_saes_folds_them(settings, tmp_path):
    free = {"decoder.weight": 2 * torch.randn(6, 12, generator=torch.Generator().manual_seed(5))}
    at = _changed(tmp_path, tensors=free, **settings)
    dictionary, (run, scale) = _read(at), _as_lm_saes_folds(at)
    x = load_file(REFERENCE / "L2R-8x.safetensors")["x"]
    code, written = run(x)
    # Its activations are in units of what is written, or of what is read; ours are normalised.
    unit = scale["in"] if settings.get("sparsity_include_decoder_norm") is False else scale["out"]
    torch.testing.assert_close(dictionary.encode(x).double(), code * unit, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(dictionary(x).double(), written, rtol=1e-5, atol=1e-5)
    assert 0.1 < (code != 0).double().mean() < 0.9


def test_two_sites_make_a_transcoder(tmp_path):
    at = _changed(tmp_path, hook_point_out="blocks.2.hook_mlp_out")
    dictionary = _read(at)
    assert isinstance(dictionary.inner, Transcoder)
    assert not dictionary.autoencodes
    assert dictionary.metadata["hook_name_out"] == "blocks.2.hook_mlp_out"
    assert isinstance(_read(REFERENCE / "L2R-8x").inner, FlatDictionary)


def test_saved_for_inference_nothing_is_scaled(tmp_path):
    dictionary = _read(_changed(tmp_path, norm_activation="inference"))
    assert type(dictionary) is FlatDictionary
    expected = torch.full((12,), 0.4)
    assert torch.equal(dictionary.selection.threshold, expected)


def test_other_rules_are_read(tmp_path):
    assert isinstance(_read(_changed(tmp_path, act_fn="relu")).selection, ReLU)
    at = _changed(tmp_path, "R1-L2R", {"log_jumprelu_threshold": None}, act_fn="topk", top_k=4)
    assert isinstance(_read(at).selection, TopK)
    assert _read(_changed(tmp_path, apply_decoder_bias_to_pre_encoder=True)).inner.centred
    at = _changed(tmp_path, tensors={"decoder.bias": None}, use_decoder_bias=False)
    assert not _read(at).b_dec.any()


def test_a_threshold_keeps_the_digits_of_its_logarithm(tmp_path):
    stored = load_file(REFERENCE / "R1-L2R" / "sae_weights.safetensors")
    half = {name: tensor.bfloat16() for name, tensor in stored.items()}
    selection = _read(_changed(tmp_path, "R1-L2R", half)).selection
    assert isinstance(selection, JumpReLU)
    assert torch.equal(selection.threshold, half["log_jumprelu_threshold"].float().exp())


W = load_file(REFERENCE / "L2R-8x" / "checkpoints/final.safetensors")["encoder.weight"]
BAD = {
    "missing": ("L2R-8x", {"encoder.bias": None}, {}, "tensor encoder.bias (m,) is missing"),
    "extra": ("L2R-8x", {"encoder_glu.weight": W}, {}, "unknown tensors: encoder_glu.weight"),
    "transposed": (
        "L2R-8x", {"decoder.weight": W.contiguous()}, {},
        "decoder.weight has shape (12, 6), wanted (6, 12); it looks transposed",
    ),
    "whole numbers": ("L2R-8x", {"encoder.weight": W.int()}, {}, "holds torch.int32"),
    "no threshold": ("R1-L2R", {"log_jumprelu_threshold": None}, {}, "log_jumprelu_threshold (m,) is"),
    "kind": ("R1-L2R", {}, {"sae_type": "lorsa"}, "sae_type = 'lorsa', and only 'sae' is read"),
    "gated": ("L2R-8x", {}, {"use_glu_encoder": True}, "a gated linear unit in the encoder"),
    "activation": ("L2R-8x", {}, {"act_fn": "swish"}, "act_fn = 'swish'; known: relu, topk"),
    "token norms": (
        "L2R-8x", {}, {"norm_activation": "token-wise"}, "norm_activation = 'token-wise': tokens are",
    ),
    "no norm": ("L2R-8x", {}, {NORM: {"in": 3.0}}, f"{NORM} 'out' is None; wanted a number above"),
    "norm zero": ("R1-L2R", {f"{NORM}.{SITE}": torch.zeros(())}, {}, f"{NORM} 'in' is 0.0"),
    "negative": (
        "L2R-8x", {}, {"jump_relu_threshold": -1}, "jump_relu_threshold = -1; wanted a number of",
    ),
    "k": ("L2R-8x", {}, {"act_fn": "topk", "top_k": "4"}, "top_k = '4'; wanted a whole number"),
    "k too large": (
        "L2R-8x", {}, {"act_fn": "topk", "top_k": 13, "jump_relu_threshold": 0}, "k = 13 for 12",
    ),
    "width": ("L2R-8x", {}, {"d_model": 5}, "d_model = 5, and the tensors say 6"),
    "other units": (
        "L2R-8x", {}, {"apply_decoder_bias_to_pre_encoder": True, NORM: {"in": 3.0, "out": 2.0}},
        "b_dec is subtracted from what is read in other units",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_fit_is_refused(case, tmp_path):
    name, tensors, settings, words = BAD[case]
    assert words in _refusal(_changed(tmp_path, name, tensors, **settings))
    assert isinstance(_read(_changed(tmp_path, name)).selection, JumpReLU)


@pytest.mark.parametrize("case", ["L2R-8x", "R1-L2R"])
def test_files_that_are_cut_or_missing_are_refused(case, tmp_path):
    at = _changed(tmp_path, case)
    (weights,) = at.rglob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1])
    assert "is not a whole safetensors file" in _refusal(at)
    weights.unlink()
    assert "cannot be read: No such file" in _refusal(at)
    (config,) = at.glob("*.json")
    config.write_text("[]")
    assert "are a list, wanted an object" in _refusal(at)
    config.write_text('{"d_model": ')
    assert "is not valid JSON" in _refusal(at)
    config.unlink()
    assert not FORMAT.recognises(at)
    assert "Llama Scope's settings is missing" in _refusal(at)
