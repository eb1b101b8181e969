import importlib.util
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from monosemy.dictionaries.cross_layer import CrossLayerTranscoder
from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.foreign import gemma_scope
from monosemy.dictionaries.foreign.circuit_tracer import FORMAT
from monosemy.dictionaries.selection import JumpReLU, ReLU, TopK
from monosemy.dictionaries.transcoders import Transcoder
from monosemy.foundation.errors import UserError

REFERENCE = Path(__file__).parents[2] / "reference" / "circuit_tracer"
OWN = ("relu-skip", "jumprelu", "across-relu", "across-jumprelu")
PLACED = {"hook_name": "blocks.0.mlp.hook_in", "hook_name_out": "blocks.0.hook_mlp_out"}


def _module(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


WRITTEN = _module(REFERENCE / "write.py").dictionaries()


def _difference(collection, name):
    """The largest error of codes and reconstructions, relative to the largest value."""
    recorded = load_file(REFERENCE / f"{name.replace('/', '-')}.safetensors")
    if "" in collection:
        recorded = {key: value.transpose(0, 1).flatten(1)[None] for key, value in recorded.items()}
    errors = []
    for layer, dictionary in enumerate(collection.values()):
        x = recorded["x"][layer]
        with torch.no_grad():
            found = dictionary.encode(x), dictionary(x)
        for got, wanted in zip(found, ("code", "reconstruction"), strict=True):
            wanted = recorded[wanted][layer]
            errors.append(float((got - wanted).abs().max() / wanted.abs().max()))
    return max(errors)


def _copy(folder, name):
    shutil.rmtree(folder / name, ignore_errors=True)
    shutil.copytree(REFERENCE / name, folder / name)
    return folder / name


def _change(path, **tensors):
    """Other tensors in a file; `None` removes one."""
    stored = load_file(path) | tensors
    save_file({name: t.contiguous() for name, t in stored.items() if t is not None}, path)


def _settings(folder, **settings):
    found = yaml.safe_load((folder / "config.yaml").read_text()) | settings
    kept = {key: value for key, value in found.items() if value is not None}
    (folder / "config.yaml").write_text(yaml.safe_dump(kept))


def _refusal(act, *given):
    with pytest.raises(UserError) as caught:
        act(*given)
    return str(caught.value)


# --- what circuit-tracer computes -----------------------------------------------------------------


@pytest.mark.parametrize("name", [*OWN, *(f"written/{name}" for name in WRITTEN)])
def test_codes_and_reconstructions_are_those_of_circuit_tracer(name):
    assert FORMAT.recognises(REFERENCE / name)
    assert not gemma_scope.FORMAT.recognises(REFERENCE / name)
    found = FORMAT.read(REFERENCE / name)
    assert _difference(found, name) < 1e-6
    assert not any(dictionary.training for dictionary in found.values())


@pytest.mark.parametrize("name", ["relu-skip", "jumprelu", "across-jumprelu"])
def test_a_rule_left_out_would_be_seen(name):
    found = FORMAT.read(REFERENCE / name)
    for dictionary in found.values():
        if isinstance(dictionary, CrossLayerTranscoder):
            for selection in dictionary.selection:
                selection.threshold.data.zero_()
        elif dictionary.W_skip is None:
            dictionary.selection = ReLU()
        else:
            dictionary.W_skip.data = dictionary.W_skip.data.T
    assert _difference(found, name) > 0.01


def test_layers_are_parts_that_know_their_sites():
    found = FORMAT.read(REFERENCE / "relu-skip")
    assert list(found) == ["layer_0", "layer_1", "layer_2"]
    assert found["layer_1"].metadata == {
        "model_name": "some/model",
        "hook_name": "blocks.1.mlp.hook_in",
        "hook_name_out": "blocks.1.hook_mlp_out",
    }
    across = FORMAT.read(REFERENCE / "across-relu")[""]
    assert across.metadata["hook_name_out"] == [f"blocks.{i}.hook_mlp_out" for i in range(3)]


@pytest.mark.parametrize("name", ["jumprelu", "across-relu"])
def test_settings_may_be_missing(name, tmp_path):
    at = _copy(tmp_path, name)
    (at / "config.yaml").unlink()
    assert FORMAT.recognises(at)
    found = FORMAT.read(at)
    assert _difference(found, name) < 1e-6
    assert next(iter(found.values())).metadata == {}


def test_settings_may_list_the_files(tmp_path):
    at = _copy(tmp_path, "jumprelu")
    for layer in range(3):
        (at / f"layer_{layer}.safetensors").rename(at / f"{'abc'[layer]}.safetensors")
    _settings(at, transcoders=["a.safetensors", "b.safetensors", "c.safetensors"])
    assert _difference(FORMAT.read(at), "jumprelu") < 1e-6


# --- writing --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WRITTEN)
def test_what_is_written_is_what_circuit_tracer_opened(name, tmp_path):
    FORMAT.write(WRITTEN[name], tmp_path)
    opened = sorted((REFERENCE / "written" / name).iterdir())
    assert sorted(path.name for path in tmp_path.iterdir()) == [path.name for path in opened]
    for path in opened:
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("name", WRITTEN)
def test_what_is_read_again_has_every_bit(name, tmp_path):
    FORMAT.write(WRITTEN[name], tmp_path)
    loaded = FORMAT.read(tmp_path)
    for saved, found in zip(WRITTEN[name].values(), loaded.values(), strict=True):
        saved.eval()
        draw = torch.Generator().manual_seed(1)
        x = torch.randn(30, saved.width, generator=draw)
        for parameter in ("W_enc", "b_enc", "W_dec", "b_dec"):
            assert torch.equal(getattr(found, parameter), getattr(saved, parameter))
        assert torch.equal(found.encode(x), saved.encode(x))
        assert torch.equal(found(x), saved(x))


@pytest.mark.parametrize("name", OWN)
def test_its_own_files_come_back_byte_for_byte(name, tmp_path):
    FORMAT.write(FORMAT.read(REFERENCE / name), tmp_path)
    for path in (REFERENCE / name).glob("*.safetensors"):
        written, own = load_file(tmp_path / path.name), load_file(path)
        assert written.keys() == own.keys()
        assert all(torch.equal(written[key], own[key]) for key in own)


def test_parts_are_layers_by_the_number_in_their_names(tmp_path):
    parts = {"layers.1.mlp": _transcoder(shift=1.0), "layers.0.mlp": _transcoder()}
    parts["layers.1.mlp"].metadata["hook_name"] = "blocks.1.mlp.hook_in"
    FORMAT.write(parts, tmp_path)
    found = FORMAT.read(tmp_path)
    assert torch.equal(found["layer_1"].b_dec, parts["layers.1.mlp"].b_dec)
    assert torch.equal(found["layer_0"].b_dec, parts["layers.0.mlp"].b_dec)


def test_layers_are_known_by_their_sites_where_names_say_nothing_of_them(tmp_path):
    parts = {"k32/dictionary": _transcoder_of(1, shift=1.0), "k64/dictionary": _transcoder_of(0)}
    FORMAT.write(parts, tmp_path)
    found = FORMAT.read(tmp_path)
    assert list(FORMAT.renamed(parts)) == list(found) == ["layer_0", "layer_1"]
    assert torch.equal(found["layer_1"].b_dec, parts["k32/dictionary"].b_dec)
    assert found["layer_1"].metadata["hook_name"] == "blocks.1.mlp.hook_in"
    FORMAT.write({"": _transcoder()}, tmp_path / "one")
    assert list(FORMAT.read(tmp_path / "one")) == ["layer_0"]


def test_sites_may_stand_in_one_text_or_be_a_pattern(tmp_path):
    sites = {"hook_name": "blocks.0.mlp.hook_in, blocks.1.mlp.hook_in",
             "hook_name_out": "blocks.*.hook_mlp_out"}  # fmt: skip
    clt = _across([ReLU(), ReLU()])[""]
    clt.metadata = sites
    FORMAT.write({"": clt}, tmp_path)
    found = FORMAT.read(tmp_path)[""].metadata
    assert found["hook_name"] == [f"blocks.{i}.mlp.hook_in" for i in range(2)]
    assert found["hook_name_out"] == [f"blocks.{i}.hook_mlp_out" for i in range(2)]


def _transcoder(selection=None, shift=0.0, written=6, latents=9, **rules):
    draw = torch.Generator().manual_seed(2)
    shapes = (latents, 6), (latents,), (latents, written), (written,)
    parts = [torch.randn(shape, generator=draw) + shift for shape in shapes]
    made = Transcoder(*parts, selection or ReLU(), **rules)
    made.metadata = dict(PLACED)
    return made


def _autoencoder():
    made = _transcoder()
    flat = FlatDictionary(made.W_enc, made.b_enc, made.W_dec, made.b_dec, ReLU(), centred=False)
    flat.metadata = dict(PLACED)
    return flat


def _elsewhere(**metadata):
    made = _transcoder()
    made.metadata = PLACED | metadata
    return made


def _across(selections, sizes=(4, 4)):
    made = CrossLayerTranscoder(
        [torch.ones(m, 6) for m in sizes], [torch.zeros(m) for m in sizes],
        [torch.ones(m, 2 - layer, 6) for layer, m in enumerate(sizes)], torch.zeros(2, 6), selections,
    )  # fmt: skip
    made.metadata = dict(PLACED)
    return {"": made}


def _set(*transcoders):
    for layer, one in enumerate(transcoders):
        site = one.metadata["hook_name"]
        one.metadata["hook_name"] = site and site.replace("blocks.0", f"blocks.{layer}")
    return {f"layer_{layer}": one for layer, one in enumerate(transcoders)}


def _trained(*layers):
    """As training leaves them: parts called after their runs."""
    return {f"k{32 * (i + 1)}/dictionary": _transcoder_of(layer) for i, layer in enumerate(layers)}


def _transcoder_of(layer, shift=0.0):
    made = _transcoder(shift=shift)
    made.metadata = {key: site.replace(".0.", f".{layer}.") for key, site in PLACED.items()}
    return made


UNSAYABLE = {
    "centred": (lambda: _set(_transcoder(centred=True)), "layer_0: b_dec is subtracted before"),
    "top-k": (lambda: _set(_transcoder(TopK(2))), "the selection 'topk' is no threshold for each"),
    "lengths": (lambda: _set(_transcoder(weighing="rescaled")), "weighed by the length of its"),
    "autoencoder": (lambda: _set(_autoencoder()), "it is an autoencoder, and circuit-tracer"),
    "two widths": (lambda: _set(_transcoder(written=5)), "it reads 6 numbers and writes 5"),
    "sizes": (
        lambda: _set(_transcoder(), _transcoder(latents=8)), "different numbers of latents ([8, 9])",
    ),
    "skips": (
        lambda: _set(_transcoder(), _transcoder(W_skip=torch.eye(6))), "some layers have a skip and",
    ),
    "a layer short": (
        lambda: _trained(0, 3, 2),
        "for every layer from 0 on, and here the layers 0, 2, 3 are without 1; convert a folder",
    ),
    "one layer": (
        lambda: {"": _transcoder_of(2)}, "and here the layer 2 is without 0, 1; convert a folder",
    ),
    "twice": (
        lambda: _trained(0, 0),
        "the parts 'k32/dictionary', 'k64/dictionary' are all of layer 0, and circuit-tracer has",
    ),
    "no layer": (
        lambda: {"": _elsewhere(hook_name="mlp.hook_in")},
        "the transcoder: no layer is known, as the metadata names no site of a layer",
    ),
    "names that lie": (
        lambda: {"layer_0": _transcoder_of(1), "layer_1": _transcoder_of(0)},
        "the part 'layer_0' is of layer 1 by its metadata (hook_name = 'blocks.1.mlp.hook_in')",
    ),
    "no site": (
        lambda: _set(_elsewhere(hook_name=None)), "and metadata 'hook_name' says nothing",
    ),
    "two sites": (
        lambda: _set(_transcoder(), _elsewhere(hook_name="blocks.1.ln2.hook_normalized")),
        "metadata 'hook_name' says ln2.hook_normalized, mlp.hook_in",
    ),
    "across top-k": (
        lambda: _across([TopK(1), TopK(1)]), "layer 0: the selection 'topk' is no threshold",
    ),
    "across sizes": (
        lambda: _across([ReLU(), ReLU()], (4, 3)), "different numbers of latents ([4, 3]); wanted one",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", UNSAYABLE)
def test_what_the_form_cannot_say_is_refused(case, tmp_path):
    make, words = UNSAYABLE[case]
    assert any(words in reason for reason in FORMAT.refuse(make()))
    assert words in _refusal(FORMAT.write, make(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_is_written_has_no_reason_against_it():
    collections = [*WRITTEN.values(), _set(_transcoder(), _transcoder()), _across([ReLU(), ReLU()])]
    assert [FORMAT.refuse(collection) for collection in collections] == [[]] * len(collections)
    assert FORMAT.refuse({}) == ["there is no dictionary in it"]


# --- bad input ------------------------------------------------------------------------------------


W = load_file(REFERENCE / "jumprelu" / "layer_0.safetensors")["W_enc"]
BAD = {
    "missing": ("jumprelu", "layer_1", {"b_enc": None}, "tensor b_enc (m,) is missing"),
    "extra": ("jumprelu", "layer_1", {"k": torch.tensor(3)}, "unknown tensors: k; wanted only"),
    "transposed": ("jumprelu", "layer_1", {"W_enc": W.T}, "W_enc has shape (6, 12), wanted (12, 6)"),
    "whole numbers": ("jumprelu", "layer_1", {"W_dec": W.int()}, "tensor W_dec holds torch.int32"),
    "unsigned": (
        "jumprelu", "layer_1",
        {"activation_function.threshold": torch.ones(12, dtype=torch.uint32)},
        "activation_function.threshold holds torch.uint32, wanted real numbers",
    ),
    "negative": (
        "jumprelu", "layer_1", {"activation_function.threshold": torch.linspace(-0.3, 2, 12)},
        "is below zero for 2 latents, which circuit-tracer lets have negative activations",
    ),
    "skip": ("relu-skip", "layer_2", {"W_skip": W[:5]}, "W_skip has shape (5, 6), wanted (6, 6)"),
    "across missing": (
        "across-relu", "W_enc_1", {"b_dec_1": None}, "tensor b_dec_1 (d,) is missing",
    ),
    "across targets": (
        "across-relu", "W_dec_1", {"W_dec_1": torch.ones(12, 3, 6)},
        "tensor W_dec_1 has shape (12, 3, 6), wanted (12, 2, 6)",
    ),
    "across negative": (
        "across-jumprelu", "W_enc_0", {"threshold_0": -torch.ones(12)}, "threshold_0 is below zero",
    ),
    "across thresholds": (
        "across-jumprelu", "W_enc_0", {"threshold_0": None},
        "only the layers [1, 2] have thresholds; wanted all or none",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_tensors_that_do_not_fit_are_refused(case, tmp_path):
    name, file, tensors, words = BAD[case]
    at = _copy(tmp_path, name)
    _change(at / f"{file}.safetensors", **tensors)
    assert words in _refusal(FORMAT.read, at)
    assert _difference(FORMAT.read(_copy(tmp_path, name)), name) < 1e-6


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"model_kind": "lorsa"},
            "names the model_kind 'lorsa'; known: transcoder_set, cross_layer",
        ),
        ({"transcoders": "a"}, "transcoders = 'a'; wanted a list of files"),
        ({"transcoders": ["hf://a/b/c.npz"]}, "layer 0 is hf://a/b/c.npz, which does not lie here"),
        ({"transcoders": []}, "has no layer_{i}.safetensors"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, words, tmp_path):
    at = _copy(tmp_path, "jumprelu")
    _settings(at, **settings)
    assert words in _refusal(FORMAT.read, at)


def test_settings_that_are_no_settings_are_refused(tmp_path):
    at = _copy(tmp_path, "jumprelu")
    (at / "config.yaml").write_text("- a")
    assert "holds a list, wanted settings by name" in _refusal(FORMAT.read, at)
    assert not FORMAT.recognises(at)
    (at / "config.yaml").write_text("!!python/object/apply:os.getcwd []")
    assert "is not YAML" in _refusal(FORMAT.read, at)


@pytest.mark.parametrize(("name", "file"), [("jumprelu", "layer_1"), ("across-relu", "W_enc_1")])
def test_layers_that_are_cut_or_missing_are_refused(name, file, tmp_path):
    at = _copy(tmp_path, name) / f"{file}.safetensors"
    at.write_bytes(at.read_bytes()[:-1])
    assert "is not a whole safetensors file" in _refusal(FORMAT.read, at.parent)
    at.unlink()
    assert "for the layers [1]" in _refusal(FORMAT.read, at.parent)


def test_nothing_there_is_said_so(tmp_path):
    assert not FORMAT.recognises(tmp_path)
    assert "has no layer_{i}.safetensors" in _refusal(FORMAT.read, tmp_path)


def test_a_threshold_below_zero_is_written_as_zero(tmp_path):
    # Here activations are positive whatever the threshold; there it would let others through.
    saved = _transcoder(JumpReLU(torch.linspace(-1, 1, 9))).eval()
    FORMAT.write(_set(saved), tmp_path)
    stored = load_file(tmp_path / "layer_0.safetensors")["activation_function.threshold"]
    assert torch.equal(stored, torch.linspace(-1, 1, 9).clamp_min(0))
    x = torch.randn(30, 6, generator=torch.Generator().manual_seed(3))
    assert torch.equal(FORMAT.read(tmp_path)["layer_0"].encode(x), saved.encode(x))
