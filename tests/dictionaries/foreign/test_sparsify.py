import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.foreign import sparsify
from monosemy.dictionaries.gated import GatedDictionary
from monosemy.dictionaries.normalised import NormalisedDictionary
from monosemy.dictionaries.selection import (
    BatchTopK,
    GroupMax,
    JumpReLU,
    RawTopK,
    ReLU,
    SignedTopK,
    TopK,
)
from monosemy.dictionaries.transcoders import Transcoder
from monosemy.foundation.errors import UserError

RECORDED = Path(__file__).parents[2] / "reference" / "sparsify"
LIBRARY = sorted((RECORDED / "library").iterdir())
OURS = sorted((RECORDED / "ours").iterdir())
NAMES = ("W_enc", "b_enc", "W_dec", "b_dec", "W_skip")


def by_name(folders):
    return pytest.mark.parametrize("folder", folders, ids=lambda f: f"{f.parent.name}-{f.name}")


def _one(path):
    return sparsify.read(path)[""]


def _near(found, wanted):
    return float((found - wanted).detach().norm() / wanted.norm()) < 1e-5


def _parts(seed=0, dtype=torch.float32, latents=12):
    draw = torch.Generator().manual_seed(seed)
    shapes = (latents, 6), (latents,), (latents, 6), (6,)
    return [torch.randn(shape, generator=draw).to(dtype) for shape in shapes]


def _skip(dtype=torch.float32):
    return torch.randn(6, 6, generator=torch.Generator().manual_seed(9)).to(dtype)


def _with_skip(dtype=torch.float32):
    dictionary = Transcoder(*_parts(dtype=dtype), TopK(3), _skip(dtype), centred=True)
    dictionary.autoencodes = True
    return dictionary


MAKERS = {
    "topk": lambda dtype: FlatDictionary(*_parts(dtype=dtype), TopK(3)),
    "groupmax": lambda dtype: FlatDictionary(*_parts(dtype=dtype), GroupMax(3)),
    "skip": _with_skip,
    "transcoder": lambda dtype: Transcoder(*_parts(dtype=dtype), TopK(3)),
    "skip_transcoder": lambda dtype: Transcoder(*_parts(dtype=dtype), GroupMax(6), _skip(dtype)),
}


@pytest.fixture
def folder(tmp_path):
    """A copy of a file that sparsify wrote."""
    return Path(shutil.copytree(RECORDED / "library" / "topk", tmp_path / "topk"))


def _change(folder, tensors=None, **config):
    """Change settings (`None` removes one) and tensors of a dictionary."""
    settings = json.loads((folder / "cfg.json").read_text()) | config
    kept = {key: value for key, value in settings.items() if value is not None}
    (folder / "cfg.json").write_text(json.dumps(kept))
    stored = load_file(folder / "sae.safetensors") | (tensors or {})
    kept = {name: tensor for name, tensor in stored.items() if tensor is not None}
    save_file(kept, folder / "sae.safetensors")


def _refusal(path):
    with pytest.raises(UserError) as caught:
        sparsify.read(path)
    return str(caught.value)


# --- the library's own numbers --------------------------------------------------------------------


@by_name(LIBRARY + OURS)
def test_it_computes_what_sparsify_computes(folder):
    dictionary, seen = _one(folder), load_file(folder / "recorded.safetensors")
    code = dictionary.encode(seen["x"])
    assert torch.equal(code != 0, seen["code"] != 0)
    assert _near(code, seen["code"])
    assert _near(dictionary.decode(seen["code"], seen["x"]), seen["out"])
    assert _near(dictionary(seen["x"]), seen["out"])
    assert not dictionary.training


def test_what_a_relu_makes_zero_is_not_active():
    seen = load_file(RECORDED / "library" / "topk" / "recorded.safetensors")
    dictionary = _one(RECORDED / "library" / "topk")
    assert int(dictionary.code(seen["x"]).counts.min()) < dictionary.selection.k == 5
    dictionary.selection = RawTopK(5)
    assert not _near(dictionary.encode(seen["x"]), seen["code"])


def test_transcoders_and_autoencoders_are_told_apart():
    kinds = {folder.name: _one(folder) for folder in LIBRARY}
    assert [name for name, it in kinds.items() if type(it) is FlatDictionary] == [
        "groupmax",
        "topk",
    ]
    assert kinds["skip"].autoencodes
    assert kinds["skip"].centred
    for name in ("transcoder", "skip_transcoder"):
        assert not kinds[name].autoencodes
        assert not kinds[name].centred
    assert kinds["groupmax"].selection.kind == "groupmax"


def test_no_number_of_latents_means_the_expansion_factor(folder):
    config = json.loads((folder / "cfg.json").read_text())
    assert (config["num_latents"], config["expansion_factor"]) == (0, 2)
    assert _one(folder).latents == 12
    _change(folder, expansion_factor=3)
    assert "tensor encoder.weight has shape (12, 6), wanted (18, 6)" in _refusal(folder)


def test_old_files_may_keep_the_largest_by_magnitude(folder):
    _change(folder, signed=True)
    dictionary, x = _one(folder), torch.randn(30, 6, generator=torch.Generator().manual_seed(1))
    assert isinstance(dictionary.selection, SignedTopK)
    pre = (x - dictionary.b_dec) @ dictionary.W_enc.T + dictionary.b_enc
    top = pre.abs().topk(5).indices
    torch.testing.assert_close(
        dictionary.encode(x), torch.zeros_like(pre).scatter(1, top, pre.gather(1, top))
    )
    assert (dictionary.encode(x) < 0).any()


def test_settings_that_are_missing_are_the_librarys(folder):
    _change(folder, {"W_dec": torch.ones(192, 6), "encoder.weight": torch.ones(192, 6),
                     "encoder.bias": torch.ones(192)}, k=None, expansion_factor=None,
            activation=None, num_latents=None, transcode=None, skip_connection=None)  # fmt: skip
    dictionary = _one(folder)
    assert (dictionary.latents, dictionary.selection.k) == (6 * 32, 32)


# --- writing --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_what_is_read_is_what_was_written_bit_for_bit(kind, dtype, tmp_path):
    written = MAKERS[kind](dtype)
    written.metadata = {"model_name": "specimen", "hook_name": "blocks.0.hook_mlp_out"}
    sparsify.write({"": written}, tmp_path)
    read = _one(tmp_path)
    assert type(read) is type(written)
    for name in NAMES:
        ours, theirs = getattr(written, name, None), getattr(read, name, None)
        assert (ours is None) == (theirs is None)
        assert ours is None or (torch.equal(ours, theirs) and ours.dtype == theirs.dtype == dtype)
    for name in ("centred", "autoencodes", "needs_input"):
        assert getattr(read, name) == getattr(written, name)
    assert (read.selection.kind, read.selection.k) == (written.selection.kind, written.selection.k)
    assert read.metadata == written.metadata | {"sparsify": {}}


@by_name(LIBRARY)
def test_the_librarys_own_file_is_written_back(folder, tmp_path):
    sparsify.write(sparsify.read(folder), tmp_path)
    ours, theirs = (load_file(at / "sae.safetensors") for at in (tmp_path, folder))
    assert {name: tensor.tolist() for name, tensor in ours.items()} == {
        name: tensor.tolist() for name, tensor in theirs.items()
    }
    config, wanted = (json.loads((at / "cfg.json").read_text()) for at in (tmp_path, folder))
    assert config.pop("metadata") == {}
    assert config == wanted | {"num_latents": 12}


@by_name(OURS)
def test_files_that_sparsify_has_read_are_still_what_is_written(folder, tmp_path):
    """The library computed `recorded.safetensors` from these very bytes."""
    sparsify.write(sparsify.read(folder), tmp_path)
    for name in ("sae.safetensors", "cfg.json"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_several_parts_are_folders(tmp_path):
    both = {"layers.10": MAKERS["topk"](torch.float32), "layers.2": _with_skip()}
    sparsify.write(both, tmp_path)
    assert list(sparsify.read(tmp_path)) == ["layers.2", "layers.10"]
    assert list(sparsify.read(tmp_path / "layers.2")) == [""]
    assert list(sparsify.read(tmp_path / "layers.2" / "sae.safetensors")) == [""]


def _reasons(dictionary):
    return sparsify.cannot_say({"": dictionary})


@pytest.mark.parametrize(
    ("selection", "lacks"),
    [
        (ReLU(), "no ReLU alone"),
        (BatchTopK(3), "no thresholds"),
        (JumpReLU(torch.ones(12)), "no thresholds"),
        (SignedTopK(3), "nothing like it"),
        (RawTopK(3), "nothing like it"),
    ],
)
def test_other_selections_are_refused(selection, lacks, tmp_path):
    dictionary = FlatDictionary(*_parts(), selection)
    reason = (
        f"its latents are selected by {selection.kind}, and sparsify's form has {lacks}: only the k "
        "largest (topk), or the largest of each of k groups (groupmax)"
    )
    assert _reasons(dictionary) == [reason]
    with pytest.raises(UserError) as caught:
        sparsify.write({"": dictionary}, tmp_path / "none")
    assert str(caught.value) == reason
    assert not (tmp_path / "none").exists()


def test_other_structures_are_refused():
    gated = GatedDictionary(*_parts()[:2], *[torch.ones(12)] * 2, *_parts()[2:])
    what = "sparsify's form has only plain autoencoders and transcoders"
    assert _reasons(gated) == [f"it is a gated autoencoder, and {what}"]
    normalised = NormalisedDictionary(FlatDictionary(*_parts(), TopK(3)), "layer_norm")
    assert _reasons(normalised) == [f"it is an autoencoder of normalised activations, and {what}"]


def test_every_other_meaning_is_refused():
    dictionary = FlatDictionary(*_parts(), TopK(3), centred=False, weighing="rescaled")
    dictionary.prefixes = (4, 12)
    dictionary.b_dec.data = dictionary.b_dec.double()
    assert _reasons(dictionary) == [
        "each latent is weighed by the length of its decoder row (rescaled), which sparsify's form "
        "ignores",
        "it is nested, and sparsify's form has no place for the prefixes [4, 12]; to write it "
        "without them, load it in Python and set prefixes to ()",
        "it does not subtract b_dec before encoding, and autoencoders in sparsify's form always do",
        "tensors of several types (torch.float32, torch.float64); sparsify reads all as one",
    ]
    assert _reasons(Transcoder(*_parts(), TopK(3), centred=True)) == [
        "it subtracts b_dec before encoding, and transcoders in sparsify's form never do"
    ]
    wide = Transcoder(*_parts()[:2], torch.ones(12, 4), torch.ones(4), TopK(3))
    assert _reasons(wide) == [
        "it reads 6 numbers and writes 4, and in sparsify's form both are equally many"
    ]


def test_parts_that_would_change_their_names_are_refused():
    dictionary = MAKERS["topk"](torch.float32)
    assert sparsify.cannot_say({"best/h/h": dictionary}) == [
        "the part 'best/h/h' would be read back as 'best/h'"
    ]
    assert sparsify.cannot_say({"h/h": dictionary, "best/h": dictionary}) == []
    assert "the part '../h' cannot be a folder" in sparsify.cannot_say({"../h": dictionary})[0]


# --- runs -----------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path):
    """The folders of a run with two seeds that saves its best."""
    source = RECORDED / "library" / "topk"
    names = ["layers.2.mlp/seed1", "layers.10.mlp/seed0"]
    for name in names:
        shutil.copytree(source, tmp_path / name)
    shutil.copytree(source, tmp_path / "best" / names[0] / names[0])
    config = {"sae": {}, "model": "a/model", "dataset": "a/text", "init_seeds": [0, 1]}
    for place in (tmp_path, tmp_path / "best" / names[0]):
        (place / "config.json").write_text(json.dumps(config))
    return tmp_path


def test_a_run_is_read_by_the_names_of_its_places(run):
    parts = sparsify.read(run)
    assert list(parts) == ["best/layers.2.mlp/seed1", "layers.2.mlp/seed1", "layers.10.mlp/seed0"]
    for name in ("best/layers.2.mlp/seed1", "layers.2.mlp/seed1"):
        metadata = parts[name].metadata
        assert (metadata["hookpoint"], metadata["seed"]) == ("layers.2.mlp", 1)
        assert (metadata["model_name"], metadata["dataset_path"]) == ("a/model", "a/text")
    assert list(sparsify.read(run / "best")) == ["layers.2.mlp/seed1"]
    alone = _one(run / "layers.10.mlp" / "seed0").metadata
    assert (alone["hookpoint"], alone["seed"]) == ("layers.10.mlp", 0)


def test_a_run_without_its_configuration_still_has_names(run):
    for file in run.rglob("config.json"):
        file.unlink()
    parts = sparsify.read(run)
    assert {part.metadata["hookpoint"] for part in parts.values()} == {
        "layers.2.mlp", "layers.10.mlp"
    }  # fmt: skip
    assert "model_name" not in parts["layers.2.mlp/seed1"].metadata


def test_another_programs_config_says_nothing(run):
    (run / "config.json").write_text('{"model_type": "llama", "model": "x"}')
    assert "model_name" not in sparsify.read(run)["layers.10.mlp/seed0"].metadata
    (run / "config.json").write_text("{")
    assert "model_name" not in sparsify.read(run)["layers.10.mlp/seed0"].metadata


def test_two_dictionaries_of_one_name(run):
    shutil.copytree(
        RECORDED / "library" / "topk", run / "best" / "layers.2.mlp" / "seed1", dirs_exist_ok=True
    )
    assert "have the same name; name the folder of one" in _refusal(run)


def test_settings_of_training_are_kept(folder, tmp_path):
    _change(folder, normalize_decoder=False, multi_topk=True)
    sparsify.write(sparsify.read(folder), tmp_path / "again")
    config = json.loads((tmp_path / "again" / "cfg.json").read_text())
    assert (config["normalize_decoder"], config["multi_topk"]) == (False, True)


# --- recognition ----------------------------------------------------------------------------------


def test_what_is_recognised(run, tmp_path):
    assert sparsify.recognises(run)
    assert sparsify.recognises(RECORDED / "library" / "topk")
    assert sparsify.recognises(RECORDED / "library" / "topk" / "sae.safetensors")
    for other in (tmp_path / "nowhere", run / "config.json", RECORDED.parent / "openai"):
        assert not sparsify.recognises(other)
    assert sparsify.FORMAT.recognises is sparsify.recognises


# --- damage ---------------------------------------------------------------------------------------


def test_nothing_there(tmp_path):
    assert _refusal(tmp_path) == (
        f"no sparsify dictionary at {tmp_path}: wanted sae.safetensors beside cfg.json"
    )


def test_no_configuration(folder):
    (folder / "cfg.json").write_text("[1]")
    assert _refusal(folder) == f"{folder / 'cfg.json'} holds a list, wanted an object"
    (folder / "cfg.json").unlink()
    assert "sparsify's configuration is missing" in _refusal(folder)


@pytest.mark.parametrize("left", [0, 5, 300, -1])
def test_cut_off_weights(folder, left):
    whole = (folder / "sae.safetensors").read_bytes()
    (folder / "sae.safetensors").write_bytes(whole[:left])
    assert "is not a whole safetensors file" in _refusal(folder)
    (folder / "sae.safetensors").write_bytes(whole)
    _one(folder)


def test_a_file_without_its_decoder(folder):
    _change(folder, {"W_dec": None})
    assert _refusal(folder) == (
        "W_dec is missing: the file was saved without its decoder and cannot reconstruct; "
        "ask for the whole one"
    )


def test_tensors_that_are_missing_or_unknown(folder):
    _change(folder, {"b_dec": None})
    assert _refusal(folder) == "tensor b_dec (6,) is missing"
    _change(folder, {"b_dec": torch.ones(6), "W_skip": torch.ones(6, 6)})
    assert _refusal(folder).startswith("unknown tensors: W_skip; wanted only ")
    _change(folder, {"W_skip": None}, skip_connection=True)
    assert _refusal(folder) == "tensor W_skip (6, 6) is missing"


@pytest.mark.parametrize("name", ["W_dec", "encoder.weight"])
def test_matrices_that_lie_the_other_way(folder, name):
    _change(folder, {name: torch.ones(6, 12)})
    assert _refusal(folder) == (
        f"tensor {name} has shape (6, 12), wanted (12, 6); it looks transposed"
    )


def test_tensors_that_are_no_real_numbers(folder):
    _change(folder, {"b_dec": torch.ones(6, dtype=torch.int64)})
    assert "tensor b_dec holds torch.int64, wanted real numbers" in _refusal(folder)
    _change(folder, {"b_dec": torch.full((6,), float("nan"))})
    assert _refusal(folder) == "tensor b_dec holds values that are not finite"


def test_tensors_of_several_types(folder):
    _change(folder, {"b_dec": torch.ones(6, dtype=torch.float16)})
    assert _refusal(folder) == (
        "tensors of several types (torch.float16, torch.float32); sparsify reads all as one"
    )


def test_settings_that_do_not_fit(folder):
    _change(folder, {"b_dec": None}, k=True, d_in="6", activation="spline", transcode=1,
            num_latents=-1, expansion_factor=0.5, metadata=[1])  # fmt: skip
    assert _refusal(folder) == (
        f"the dictionary in {folder} has 8 problems:\n"
        "  - d_in = '6'; wanted a whole number of at least 1\n"
        "  - k = True; wanted a whole number of at least 1\n"
        "  - num_latents = -1; wanted a whole number of at least 0\n"
        "  - expansion_factor = 0.5; wanted a whole number of at least 1\n"
        "  - transcode = 1; wanted true or false\n"
        "  - unknown activation 'spline'; known: topk, groupmax\n"
        "  - metadata holds a list, wanted an object\n"
        "  - tensor b_dec (d,) is missing"
    )


def test_k_that_does_not_fit(folder):
    _change(folder, k=13)
    assert _refusal(folder) == "k = 13 for 12 latents; wanted 1 <= k <= latents"
    _change(folder, k=5, activation="groupmax")
    assert _refusal(folder) == "12 latents do not fall into 5 groups of equal size"
    _change(folder, k=4, signed=True)
    assert _refusal(folder) == "signed = True with activation 'groupmax'; no version has both"
