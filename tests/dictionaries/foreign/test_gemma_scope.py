import importlib.util
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from monosemy.dictionaries.cross_layer import CrossLayerTranscoder
from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.foreign.gemma_scope import FORMAT
from monosemy.dictionaries.gated import GatedDictionary
from monosemy.dictionaries.normalised import NormalisedDictionary
from monosemy.dictionaries.selection import BatchTopK, ReLU, TopK
from monosemy.dictionaries.transcoders import Transcoder
from monosemy.foundation.errors import UserError

REFERENCE = Path(__file__).parents[2] / "reference" / "gemma_scope"
RES = "gemma-scope-2b-pt-res/layer_3/width_16k/average_l0_50"
RES_2 = "gemma-scope-2-1b-pt/resid_post/layer_5_width_16k_l0_small"
AFFINE_2 = "gemma-scope-2-1b-pt/transcoder_all/layer_0_width_16k_l0_big_affine"
LAYERS_2 = "gemma-scope-2-1b-pt/clt/width_262k_l0_big"
# Where each lies, what it is, and where it reads and writes.
CASES = {
    "res": (RES, FlatDictionary, "blocks.3.hook_resid_post", None),
    "embedding": (
        "gemma-scope-2b-pt-res/embedding/width_4k/average_l0_6", FlatDictionary, "hook_embed", None,
    ),
    "att": (
        "gemma-scope-9b-it-att/layer_2/width_16k/average_l0_4",
        FlatDictionary, "blocks.2.attn.hook_z", None,
    ),
    "transcoder": (
        "gemma-scope-2b-pt-transcoders/layer_1/width_16k/average_l0_9",
        Transcoder, "blocks.1.ln2.hook_normalized", "blocks.1.hook_mlp_out",
    ),
    "res-2": (RES_2, FlatDictionary, "blocks.5.hook_resid_post", None),
    "affine-2": (AFFINE_2, Transcoder, "blocks.0.mlp.hook_in", "blocks.0.hook_mlp_out"),
    "transcoder-2": (
        "gemma-scope-2-1b-pt/transcoder_all/layer_2_width_16k_l0_big",
        Transcoder, "blocks.2.mlp.hook_in", "blocks.2.hook_mlp_out",
    ),
    "layers-2": (
        LAYERS_2, CrossLayerTranscoder,
        [f"blocks.{i}.mlp.hook_in" for i in range(3)], [f"blocks.{i}.hook_mlp_out" for i in range(3)],
    ),
}  # fmt: skip


def _module(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


WRITTEN = _module(REFERENCE / "write.py").dictionaries()


def _only(collection):
    (dictionary,) = collection.values()
    return dictionary


def _difference(dictionary, recorded):
    """The largest error of code and reconstruction, relative to the largest value."""
    with torch.no_grad():
        found = dictionary.encode(recorded["x"]), dictionary(recorded["x"])
    wanted = recorded["code"], recorded["reconstruction"]
    return max(
        float((f - w).abs().max() / w.abs().max()) for f, w in zip(found, wanted, strict=True)
    )


def _place(folder, below):
    """A copy of a recorded folder that can be damaged."""
    shutil.copytree(REFERENCE / below, folder / below)
    return folder / below


def _refusal(act, *given):
    with pytest.raises(UserError) as caught:
        act(*given)
    return str(caught.value)


# --- what others compute --------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_codes_and_reconstructions_are_those_of_saelens_and_circuit_tracer(case):
    below, kind, read, written = CASES[case]
    assert FORMAT.recognises(REFERENCE / below)
    dictionary = _only(FORMAT.read(REFERENCE / below))
    recorded = load_file(REFERENCE / f"{case}.safetensors")
    assert type(dictionary) is kind
    assert not dictionary.training
    assert _difference(dictionary, recorded) < 1e-6
    assert 0.2 < (recorded["code"] != 0).float().mean() < 0.8
    assert dictionary.metadata["hook_name"] == read
    assert dictionary.metadata.get("hook_name_out") == written


@pytest.mark.parametrize("rule", ["threshold", "centred", "skip", "embedding"])
def test_a_rule_left_out_would_be_seen(rule, tmp_path):
    case = {"skip": "affine-2", "embedding": "embedding"}.get(rule, "res")
    below = CASES[case][0]
    at = _place(tmp_path, below)
    if rule == "embedding":
        at = at.rename(tmp_path / "elsewhere")
    dictionary = _only(FORMAT.read(at))
    if rule == "threshold":
        dictionary.selection = ReLU()
    if rule == "centred":
        dictionary.centred = True
    if rule == "skip":
        dictionary.W_skip = None
    assert _difference(dictionary, load_file(REFERENCE / f"{case}.safetensors")) > 0.01


def test_a_repository_is_read_part_by_part():
    found = FORMAT.read(REFERENCE / "gemma-scope-2b-pt-res")
    assert list(found) == ["embedding/width_4k/average_l0_6", "layer_3/width_16k/average_l0_50"]
    assert found["layer_3/width_16k/average_l0_50"].metadata["model_name"] == "google/gemma-2-2b"


def test_the_file_itself_can_be_named():
    assert FORMAT.recognises(REFERENCE / RES / "params.npz")
    assert list(FORMAT.read(REFERENCE / RES / "params.npz")) == [""]


def test_settings_say_what_is_a_transcoder_before_names_do(tmp_path):
    at = _place(tmp_path, RES_2)
    config = json.loads((at / "config.json").read_text())
    (at / "config.json").write_text(
        json.dumps(config | {"hf_hook_point_out": "model.layers.6.mlp"})
    )
    assert isinstance(_only(FORMAT.read(at)), Transcoder)


def test_without_any_name_a_square_file_is_an_autoencoder(tmp_path):
    shutil.copy(REFERENCE / CASES["transcoder"][0] / "params.npz", tmp_path / "params.npz")
    assert isinstance(_only(FORMAT.read(tmp_path)), FlatDictionary)


def test_rows_for_earlier_layers_of_a_cross_layer_transcoder_count_for_nothing(tmp_path):
    at = _place(tmp_path, LAYERS_2)
    tensors = load_file(at / "params_layer_2.safetensors")
    tensors["w_dec"][:, :2] = 1e6
    save_file(tensors, at / "params_layer_2.safetensors")
    recorded = load_file(REFERENCE / "layers-2.safetensors")
    assert _difference(_only(FORMAT.read(at)), recorded) < 1e-6
    tensors["w_dec"][:, 2:] *= 2
    save_file(tensors, at / "params_layer_2.safetensors")
    assert _difference(_only(FORMAT.read(at)), recorded) > 0.01


def test_types_stay_as_they_are_and_mixed_ones_are_widened(tmp_path):
    at = _place(tmp_path, RES_2)
    tensors = load_file(at / "params.safetensors")
    half = {name: tensor.bfloat16() for name, tensor in tensors.items()}
    save_file(half, at / "params.safetensors")
    assert _only(FORMAT.read(at)).W_enc.dtype == torch.bfloat16
    save_file(half | {"threshold": tensors["threshold"]}, at / "params.safetensors")
    dictionary = _only(FORMAT.read(at))
    assert dictionary.W_enc.dtype == torch.float32
    assert torch.equal(dictionary.W_dec, half["w_dec"].float())
    assert torch.equal(dictionary.selection.threshold, tensors["threshold"])


# --- writing --------------------------------------------------------------------------------------


@pytest.mark.parametrize("below", WRITTEN)
def test_what_is_written_is_what_saelens_opened(below, tmp_path):
    FORMAT.write(WRITTEN[below], tmp_path / below)
    written = (tmp_path / below / "params.npz").read_bytes()
    assert written == (REFERENCE / "written" / below / "params.npz").read_bytes()
    layer = below.split("layer_")[1][0]
    recorded = load_file(REFERENCE / f"written-{layer}.safetensors")
    assert _difference(_only(WRITTEN[below]).eval(), recorded) < 1e-6


@pytest.mark.parametrize("below", WRITTEN)
def test_what_is_read_again_has_every_bit(below, tmp_path):
    saved = _only(WRITTEN[below]).eval()
    FORMAT.write({"": saved}, tmp_path / below)
    loaded = _only(FORMAT.read(tmp_path / below))
    x = torch.randn(30, 6, generator=torch.Generator().manual_seed(1))
    for name in ("W_enc", "b_enc", "W_dec", "b_dec"):
        assert torch.equal(getattr(loaded, name), getattr(saved, name))
    assert torch.equal(loaded.encode(x), saved.encode(x))
    assert torch.equal(loaded(x), saved(x))
    assert type(loaded) is type(saved)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_no_digit_is_lost_in_other_types(dtype, tmp_path):
    saved = _flat(ReLU()).to(dtype)
    FORMAT.write({"": saved}, tmp_path / "a")
    loaded = _only(FORMAT.read(tmp_path / "a"))
    assert torch.equal(loaded.W_enc.double(), saved.W_enc.double())
    assert loaded.W_enc.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)


def test_several_parts_get_a_folder_each(tmp_path):
    collection = {"layer_0/a": _flat(ReLU()), "layer_1/a": _flat(ReLU())}
    FORMAT.write(collection, tmp_path)
    assert list(FORMAT.read(tmp_path)) == list(collection)


def _parts(width=6):
    draw = torch.Generator().manual_seed(2)
    return [torch.randn(shape, generator=draw) for shape in ((9, 6), (9,), (9, width), (width,))]


def _flat(selection, **rules):
    return FlatDictionary(*_parts(), selection, **({"centred": False} | rules))


def _nested():
    dictionary = _flat(ReLU())
    dictionary.prefixes = (3, 9)
    return dictionary


def _unset():
    selection = BatchTopK(3)
    selection.threshold.fill_(-1)
    return _flat(selection)


UNSAYABLE = {
    "centred": (lambda: _flat(ReLU(), centred=True), "b_dec is subtracted before encoding"),
    "top-k": (lambda: _flat(TopK(2)), "the selection 'topk' is no threshold for each latent"),
    "lengths": (lambda: _flat(ReLU(), weighing="selected"), "length of its decoder row"),
    "prefixes": (_nested, "Gemma Scope's npz has no place for the prefixes [3, 9]"),
    "norm": (
        lambda: NormalisedDictionary(_flat(ReLU()), "constant", factor=2.0),
        "activations are normalised first (constant)",
    ),
    "gated": (
        lambda: GatedDictionary.tied(torch.eye(6), torch.zeros(6)), "it is a gated autoencoder",
    ),
    "skip": (lambda: Transcoder(*_parts(), ReLU(), W_skip=torch.eye(6)), "npz has no skip"),
    "unset": (_unset, "its batchtopk threshold is -1, so it was never set"),
}  # fmt: skip


@pytest.mark.parametrize("case", UNSAYABLE)
def test_what_the_form_cannot_say_is_refused(case, tmp_path):
    make, words = UNSAYABLE[case]
    reasons = FORMAT.refuse({"": make()})
    assert len(reasons) == 1
    assert words in reasons[0]
    assert words in _refusal(FORMAT.write, {"": make()}, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_every_dictionary_that_is_written_has_no_reason_against_it():
    assert [FORMAT.refuse(collection) for collection in WRITTEN.values()] == [[]] * len(WRITTEN)


def test_names_that_would_be_read_as_something_else_are_refused(tmp_path):
    transcoder = Transcoder(*_parts(), ReLU())
    words = _refusal(FORMAT.write, {"": transcoder}, tmp_path / "mine")
    assert "only a folder's name says that this is a transcoder" in words
    assert "write it below a folder called gemma-scope-transcoders" in words
    words = _refusal(FORMAT.write, {"": _flat(ReLU())}, tmp_path / "gemma-scope-transcoders")
    assert "says that this is an autoencoder" in words
    words = _refusal(FORMAT.write, {"": _flat(ReLU())}, tmp_path / "embedding" / "width_4k")
    assert "below a folder 'embedding', whose files are rescaled" in words
    # A transcoder between places of different width needs no name.
    FORMAT.write({"": Transcoder(*_parts(4), ReLU())}, tmp_path / "mine")
    assert isinstance(_only(FORMAT.read(tmp_path / "mine")), Transcoder)


# --- bad input ------------------------------------------------------------------------------------


def _arrays(**changes):
    with np.load(REFERENCE / RES / "params.npz") as found:
        arrays = dict(found) | changes
    return {name: array for name, array in arrays.items() if array is not None}


def _npz(folder, arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    (folder / "params.npz").write_bytes(buffer.getvalue())
    return folder


W = _arrays()["W_enc"]
BAD = {
    "missing": ({"threshold": None}, "tensor threshold (m,) is missing"),
    "extra": ({"W_gate": W}, "unknown tensors: w_gate"),
    "transposed": ({"W_enc": W.T.copy()}, "tensor w_enc has shape (12, 6), wanted (d_in, 12)"),
    "whole numbers": ({"W_enc": W.astype(np.int64)}, "tensor w_enc holds torch.int64"),
    "not finite": ({"b_enc": np.full(12, np.nan, np.float32)}, "b_enc holds values that are not"),
    "twice": ({"w_enc": W}, "holds w_enc twice, once as w_enc; keep one"),
    "scaled": (
        {"scaling_factor": np.full(12, 2.0, np.float32)}, "unknown tensors: scaling_factor",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_npz_files_that_do_not_fit_are_refused(case, tmp_path):
    changes, words = BAD[case]
    assert words in _refusal(FORMAT.read, _npz(tmp_path, _arrays(**changes)))
    assert list(FORMAT.read(_npz(tmp_path, _arrays()))) == [""]


def test_scaling_factors_of_one_are_nothing(tmp_path):
    found = FORMAT.read(_npz(tmp_path, _arrays(scaling_factor=np.ones(12, np.float32))))
    assert _difference(_only(found), load_file(REFERENCE / "res.safetensors")) < 1e-6


def test_a_cut_file_is_refused_whereever_it_was_cut(tmp_path):
    whole = (REFERENCE / RES / "params.npz").read_bytes()
    for size in (0, 1, 10, len(whole) // 2, len(whole) - 1):
        (tmp_path / "params.npz").write_bytes(whole[:size])
        assert "is not a whole npz file" in _refusal(FORMAT.read, tmp_path)


def test_an_array_of_objects_is_refused_unread(tmp_path):
    class Trap:
        def __reduce__(self):
            return Path.touch, (tmp_path / "sprung",)

    arrays = _arrays() | {"W_enc": np.array([Trap()], dtype=object)}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    (tmp_path / "params.npz").write_bytes(buffer.getvalue())
    assert "is not a whole npz file of numbers" in _refusal(FORMAT.read, tmp_path)
    assert not (tmp_path / "sprung").exists()
    # The trap works where pickles are allowed.
    np.load(tmp_path / "params.npz", allow_pickle=True)["W_enc"]
    assert (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ('{"architecture": "topk"}', "names the architecture 'topk'; Gemma Scope has only"),
        ("[]", "holds a list, wanted an object"),
        ("{", "is not valid JSON"),
    ],
)
def test_settings_that_are_not_known_are_refused(config, words, tmp_path):
    at = _place(tmp_path, RES_2)
    (at / "config.json").write_text(config)
    assert words in _refusal(FORMAT.read, at)


def test_a_cut_safetensors_file_is_refused(tmp_path):
    at = _place(tmp_path, RES_2)
    whole = (at / "params.safetensors").read_bytes()
    (at / "params.safetensors").write_bytes(whole[:-9])
    assert "is not a whole safetensors file" in _refusal(FORMAT.read, at)


def test_a_skip_that_lies_the_other_way_is_refused(tmp_path):
    at = _place(tmp_path, AFFINE_2)
    tensors = load_file(at / "params.safetensors")
    tensors["affine_skip_connection"] = tensors["affine_skip_connection"].T.contiguous()
    save_file(tensors, at / "params.safetensors")
    assert "affine_skip_connection has shape (5, 6), wanted (6, 5)" in _refusal(FORMAT.read, at)


def test_layers_that_are_missing_or_have_a_skip_are_refused(tmp_path):
    at = _place(tmp_path, LAYERS_2)
    tensors = load_file(at / "params_layer_0.safetensors")
    save_file(tensors | {"affine_skip_connection": torch.eye(6)}, at / "params_layer_0.safetensors")
    assert "layer 0: has a skip (affine_skip_connection)" in _refusal(FORMAT.read, at)
    (at / "params_layer_1.safetensors").unlink()
    assert "has no file for the layers [1]; wanted each from 0 on" in _refusal(FORMAT.read, at)


def test_fewer_layers_than_the_decoders_write_are_refused(tmp_path):
    at = _place(tmp_path, LAYERS_2)
    (at / "params_layer_2.safetensors").unlink()
    words = _refusal(FORMAT.read, at)
    assert "layer 0: tensor w_dec has shape (12, 3, 6), wanted (12, 2, 6)" in words


def test_nothing_there_is_said_so(tmp_path):
    assert not FORMAT.recognises(tmp_path)
    assert not FORMAT.recognises(tmp_path / "absent")
    assert "nothing of Gemma Scope at" in _refusal(FORMAT.read, tmp_path)
