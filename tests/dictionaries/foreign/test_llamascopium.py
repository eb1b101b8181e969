import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from monosemy.dictionaries.cross_layer import CrossLayerTranscoder
from monosemy.dictionaries.crosscoders import Crosscoder
from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.foreign import llama_scope
from monosemy.dictionaries.foreign.llamascopium import FORMAT
from monosemy.dictionaries.normalised import NormalisedDictionary
from monosemy.dictionaries.selection import JumpReLU, ReLU
from monosemy.foundation.errors import UserError

REFERENCE = Path(__file__).parents[2] / "reference" / "llamascopium"
KINDS = {
    "relu": NormalisedDictionary,
    "jumprelu": NormalisedDictionary,
    "jumprelu-lengths": NormalisedDictionary,
    "topk-lengths": FlatDictionary,
    "topk-token-wise": NormalisedDictionary,
    "transcoder": NormalisedDictionary,
    "no-offset": NormalisedDictionary,
    "crosscoder-relu": Crosscoder,
    "crosscoder-jumprelu": Crosscoder,
    "clt-relu": CrossLayerTranscoder,
    "clt-jumprelu": CrossLayerTranscoder,
    "clt-topk": CrossLayerTranscoder,
}
LOG = "activation_function.log_jumprelu_threshold"
NORM = "dataset_average_activation_norm"
SITE, OUT = "blocks.1.ln2.hook_normalized", "blocks.1.hook_mlp_out"


def _difference(dictionary, recorded):
    with torch.no_grad():
        found = dictionary.encode(recorded["x"]), dictionary(recorded["x"])
    # A crosscoder with shared latents has one activation where llamascopium repeats it.
    wanted = recorded["code"][:, : dictionary.latents], recorded["reconstruction"]
    return max(
        float((f - w).abs().max() / w.abs().max()) for f, w in zip(found, wanted, strict=True)
    )


def _recorded(case):
    return load_file(REFERENCE / f"{case}.safetensors")


def _read(at):
    return FORMAT.read(at)[""]


def _refusal(at):
    with pytest.raises(UserError) as caught:
        FORMAT.read(at)
    return str(caught.value)


def _changed(folder, case="relu", tensors=None, **settings):
    """A copy of a recorded folder with other settings and tensors; `None` removes one."""
    at = folder / case
    shutil.rmtree(at, ignore_errors=True)
    shutil.copytree(REFERENCE / case, at)
    found = json.loads((at / "config.json").read_text()) | settings
    kept = {key: value for key, value in found.items() if value is not None}
    (at / "config.json").write_text(json.dumps(kept))
    stored = load_file(at / "sae_weights.safetensors") | (tensors or {})
    kept = {name: t for name, t in stored.items() if t is not None}
    save_file(kept, at / "sae_weights.safetensors")
    return at


@pytest.mark.parametrize("case", KINDS)
def test_codes_and_reconstructions_are_those_of_llamascopium(case):
    assert FORMAT.recognises(REFERENCE / case)
    assert not llama_scope.FORMAT.recognises(REFERENCE / case)
    dictionary, recorded = _read(REFERENCE / case), _recorded(case)
    assert type(dictionary) is KINDS[case]
    assert _difference(dictionary, recorded) < 1e-6
    assert 0.2 < (recorded["code"] != 0).float().mean() < 0.8
    assert not dictionary.training


@pytest.mark.parametrize("case", ["jumprelu-lengths", "topk-lengths"])
def test_lengths_that_do_not_count_would_be_seen(case):
    dictionary = _read(REFERENCE / case)
    getattr(dictionary, "inner", dictionary).weighing = "none"
    assert _difference(dictionary, _recorded(case)) > 0.01


@pytest.mark.parametrize("case", [case for case in KINDS if "jumprelu" in case])
def test_thresholds_left_out_would_be_seen(case):
    dictionary = _read(REFERENCE / case)
    selections = getattr(dictionary.selection, "layers", [dictionary.selection])
    for selection in selections:
        selection.threshold.data.zero_()
    assert _difference(dictionary, _recorded(case)) > 0.01


def test_a_transcoder_has_a_scale_for_each_side():
    dictionary = _read(REFERENCE / "transcoder")
    assert dictionary.factor == pytest.approx(6**0.5 / 3)
    assert dictionary.factor_out == pytest.approx(6**0.5 / 1.25)
    assert not dictionary.autoencodes
    assert dictionary.metadata == {"hook_name": SITE, "hook_name_out": OUT}
    dictionary.factor_out = dictionary.factor
    assert _difference(dictionary, _recorded("transcoder")) > 0.01


def test_with_thresholds_a_crosscoder_has_latents_for_each_part():
    shared, apart = (_read(REFERENCE / f"crosscoder-{kind}") for kind in ("relu", "jumprelu"))
    assert (shared.latents, apart.latents) == (12, 36)
    parts = apart.relative_norms().reshape(3, 12, 3)
    for part in range(3):
        assert torch.equal(parts[part], torch.eye(3)[part].expand(12, 3))
    # In the units of learning, norms are those in the file.
    stored = load_file(REFERENCE / "crosscoder-relu" / "sae_weights.safetensors")
    torch.testing.assert_close(shared.decoder_norms(), stored["W_D"].norm(dim=2).T)
    # Some latent is active in one part and not in another.
    active = _recorded("crosscoder-jumprelu")["code"].unflatten(1, (3, 12)) != 0
    assert bool((active.any(1) & ~active.all(1)).any())


def test_saved_for_inference_norms_may_be_anything(tmp_path):
    scrap = {f"{NORM}.{SITE}": torch.tensor(float("nan"))}
    at = _changed(tmp_path, "relu", scrap, norm_activation="inference")
    assert type(_read(at)) is FlatDictionary
    words = _refusal(_changed(tmp_path, "relu", scrap))
    assert f"{NORM}.{SITE} is nan; wanted a number above zero" in words


def test_a_threshold_keeps_the_digits_of_its_logarithm(tmp_path):
    stored = load_file(REFERENCE / "jumprelu" / "sae_weights.safetensors")
    half = {name: tensor.bfloat16() for name, tensor in stored.items()}
    selection = _read(_changed(tmp_path, "jumprelu", half)).selection
    assert isinstance(selection, JumpReLU)
    assert torch.equal(selection.threshold, half[LOG].float().exp())


def test_checkpoints_are_found_below(tmp_path):
    at = _changed(tmp_path)
    (at / "checkpoints").mkdir()
    (at / "sae_weights.safetensors").rename(at / "checkpoints" / "final.safetensors")
    assert FORMAT.recognises(at)
    assert isinstance(_read(at).selection, ReLU)


W = load_file(REFERENCE / "relu" / "sae_weights.safetensors")["W_E"]
BAD = {
    "missing": ("relu", {"b_D": None}, {}, "tensor b_D (6,) is missing"),
    "missing layer": ("clt-relu", {"W_D.2": None}, {}, "tensor W_D.2 (3, 12, 6) is missing"),
    "extra": ("relu", {LOG: W}, {}, f"unknown tensors: {LOG}"),
    "transposed": (
        "relu", {"W_E": W.T.contiguous()}, {}, "W_E has shape (12, 6), wanted (6, 12); it looks",
    ),
    "whole numbers": ("relu", {"W_D": W.T.int().contiguous()}, {}, "tensor W_D holds torch.int32"),
    "kind": ("relu", {}, {"sae_type": "lorsa"}, "names the sae_type 'lorsa'; known: sae, cross"),
    "no kind": ("relu", {}, {"sae_type": ["sae"]}, "names the sae_type ['sae']; known: sae, cross"),
    "gated": ("relu", {}, {"use_glu_encoder": True}, "a gated linear unit in the encoder"),
    "batch": ("relu", {}, {"act_fn": "batchtopk"}, "act_fn = 'batchtopk' compares the tokens of a"),
    "layers": ("clt-topk", {}, {"act_fn": "layertopk"}, "'layertopk' compares the layers of a token"),
    "lengths": (
        "clt-topk", {}, {"sparsity_include_decoder_norm": True}, "act_fn = 'topk' by decoder lengths",
    ),
    "parts": ("crosscoder-relu", {}, {"act_fn": "topk"}, "takes the k largest in every part of a"),
    "no lengths": (
        "crosscoder-relu", {}, {"sparsity_include_decoder_norm": False}, "has no crosscoder without",
    ),
    "activation": ("relu", {}, {"act_fn": "swish"}, "act_fn = 'swish'; known: relu, jumprelu, topk"),
    "batch norms": (
        "relu", {}, {"norm_activation": "batch-wise"}, "norm_activation = 'batch-wise' scales by",
    ),
    "label norms": (
        "relu", {}, {"norm_activation": "token-wise", "hook_point_out": OUT},
        "norm_activation = 'token-wise' scales by what is not known in use",
    ),
    "no norm": ("relu", {f"{NORM}.{SITE}": None}, {}, f"{NORM}.{SITE} is None; wanted a number"),
    "no site": ("relu", {}, {"hook_point_in": None}, "hook_point_in names no site"),
    "wrong site": ("relu", {}, {"hook_point_in": [3]}, "hook_point_in names no site"),
    "sites": (
        "clt-relu", {}, {"hook_points_out": [OUT]}, "3 sites are read and 1 written; wanted as many",
    ),
    "width": ("relu", {}, {"d_model": "6"}, "d_model = '6'; wanted a whole number above zero"),
    "other width": ("relu", {}, {"d_model": 4}, "tensor W_E has shape (6, 12), wanted (4, 8)"),
    "latents": ("relu", {}, {"expansion_factor": 3.0}, "tensor b_E has shape (12,), wanted (18,)"),
    "k": ("topk-lengths", {}, {"top_k": 0}, "top_k = 0; wanted a whole number of at least 1"),
    "k too large": ("topk-lengths", {}, {"top_k": 13}, "k = 13 for 12 latents"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_fit_is_refused(case, tmp_path):
    name, tensors, settings, words = BAD[case]
    assert words in _refusal(_changed(tmp_path, name, tensors, **settings))
    assert _difference(_read(_changed(tmp_path, name)), _recorded(name)) < 1e-6


def test_files_that_are_cut_or_missing_are_refused(tmp_path):
    at = _changed(tmp_path)
    weights = at / "sae_weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    assert "is not a whole safetensors file" in _refusal(at)
    weights.unlink()
    assert "has no sae_weights.safetensors" in _refusal(at)
    assert not FORMAT.recognises(at)
    (at / "sae_weights.dcp").mkdir()
    assert "is a distributed checkpoint; load it with llamascopium" in _refusal(at)
    (at / "config.json").write_text("3")
    assert "holds a int, wanted an object" in _refusal(at)


def test_a_pickle_with_code_is_refused_unread(tmp_path):
    class Trap:
        def __reduce__(self):
            return Path.touch, (tmp_path / "sprung",)

    shutil.copytree(REFERENCE / "no-offset", tmp_path / "a")
    at = tmp_path / "a" / "sae_weights.pt"
    assert FORMAT.recognises(at.parent)
    torch.save({"sae": {"W_E": Trap()}}, at)
    assert "to read it would run code from it, so it was not read" in _refusal(at.parent)
    assert not (tmp_path / "sprung").exists()
    # The trap works where code is run.
    torch.load(at, weights_only=False)
    assert (tmp_path / "sprung").exists()
    torch.save({"model": {}}, at)
    assert "holds no tensors under 'sae'" in _refusal(at.parent)
    torch.save({"sae": {"W_E": 3, 4: 5, f"{NORM}.{SITE}": torch.ones(())}}, at)
    assert "W_E holds int, wanted a tensor" in _refusal(at.parent)
