import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.foreign import dictionary_learning
from monosemy.dictionaries.gated import GatedDictionary
from monosemy.dictionaries.normalised import NormalisedDictionary
from monosemy.dictionaries.selection import (
    BatchTopK,
    GroupMax,
    JumpReLU,
    ReLU,
    SignedTopK,
    TopK,
)
from monosemy.dictionaries.transcoders import Transcoder
from monosemy.foundation.errors import UserError

RECORDED = Path(__file__).parents[2] / "reference" / "dictionary_learning"
FILES = sorted(RECORDED.rglob("*.pt"))
FOLDERS = sorted(file.parent for file in RECORDED.rglob("config.json"))
SCALED = sorted(RECORDED.rglob("scaled.recorded"))
KINDS = {
    "AutoEncoder": ("relu", True),
    "AutoEncoderNew": ("relu", False),
    "GatedAutoEncoder": ("relu", True),
    "AutoEncoderTopK": ("topk", True),
    "BatchTopKSAE": ("batchtopk", True),
    "JumpReluAutoEncoder": ("jumprelu", False),
    "MatryoshkaBatchTopKSAE": ("batchtopk", True),
}
NAMES = ("W_enc", "b_enc", "W_dec", "b_dec", "r_mag", "b_mag")


def _name(path):
    return path.relative_to(RECORDED).as_posix()


def _one(path):
    return dictionary_learning.read(path)[""]


def _near(found, wanted):
    return float((found - wanted).detach().norm() / wanted.norm()) < 1e-5


def _parts(dtype=torch.float32):
    draw = torch.Generator().manual_seed(0)
    shapes = (12, 6), (12,), (12, 6), (6,)
    return [torch.randn(shape, generator=draw).to(dtype) for shape in shapes]


def _batch(threshold=0.7):
    selection = BatchTopK(4)
    selection.threshold.fill_(threshold)
    return selection


def _nested(dtype=torch.float32):
    dictionary = FlatDictionary(*_parts(dtype), _batch())
    dictionary.prefixes = (2, 5, 12)
    return dictionary


def _gated(dtype=torch.float32):
    W_enc, b_enc, W_dec, b_dec = _parts(dtype)
    return GatedDictionary(W_enc, b_enc, b_enc / 3, b_enc.flip(0), W_dec, b_dec)


def _jump(dtype=torch.float32):
    selection = JumpReLU(torch.linspace(-0.5, 1.5, 12).to(dtype))
    return FlatDictionary(*_parts(dtype), selection, centred=False)


MAKERS = {
    "AutoEncoder": lambda dtype: FlatDictionary(*_parts(dtype), ReLU()),
    "AutoEncoderNew": lambda dtype: FlatDictionary(*_parts(dtype), ReLU(), centred=False),
    "GatedAutoEncoder": _gated,
    "AutoEncoderTopK": lambda dtype: FlatDictionary(*_parts(dtype), TopK(4)),
    "BatchTopKSAE": lambda dtype: FlatDictionary(*_parts(dtype), _batch()),
    "JumpReluAutoEncoder": _jump,
    "MatryoshkaBatchTopKSAE": _nested,
}


@pytest.fixture
def copied(tmp_path):
    """Copies a folder that the library wrote."""
    return lambda name: Path(shutil.copytree(RECORDED / "library" / name, tmp_path / name))


def _change(folder, tensors=None, trainer=None, **config):
    """Change tensors and settings of a saved dictionary; `None` removes one."""
    state = torch.load(folder / "ae.pt", weights_only=True) | (tensors or {})
    torch.save({n: value for n, value in state.items() if value is not None}, folder / "ae.pt")
    settings = json.loads((folder / "config.json").read_text()) | config
    settings["trainer"] |= trainer or {}
    for key in [key for key, value in settings["trainer"].items() if value is None]:
        del settings["trainer"][key]
    (folder / "config.json").write_text(json.dumps(settings))


def _refusal(path):
    with pytest.raises(UserError) as caught:
        dictionary_learning.read(path)
    return str(caught.value)


# --- the library's own numbers --------------------------------------------------------------------


@pytest.mark.parametrize("file", FILES, ids=_name)
def test_it_computes_what_the_library_computes(file):
    dictionary, seen = _one(file), load_file(file.with_suffix(".recorded"))
    code = dictionary.encode(seen["x"])
    assert torch.equal(code != 0, seen["code"] != 0)
    assert _near(code, seen["code"])
    assert _near(dictionary.decode(seen["code"], seen["x"]), seen["out"])
    assert _near(dictionary(seen["x"]), seen["out"])
    assert not dictionary.training


@pytest.mark.parametrize("file", SCALED, ids=_name)
def test_its_loader_scales_decoder_rows_to_length_one_and_codes_up(file):
    dictionary, seen = _one(file.parent), load_file(file)
    lengths = dictionary.W_dec.norm(dim=1)
    assert _near(dictionary.encode(seen["x"]) * lengths, seen["code"])
    assert not _near(dictionary.encode(seen["x"]), seen["code"])
    assert _near(dictionary(seen["x"]), seen["out"])


@pytest.mark.parametrize("name", KINDS)
def test_every_class_is_what_it_says(name):
    for owner in ("library", "ours"):
        dictionary = _one(RECORDED / owner / name)
        assert (dictionary.selection.kind, dictionary.centred) == KINDS[name]
        assert isinstance(dictionary, GatedDictionary) == (name == "GatedAutoEncoder")
        assert bool(dictionary.prefixes) == (name == "MatryoshkaBatchTopKSAE")


def test_groups_end_at_the_prefixes():
    assert _one(RECORDED / "library" / "MatryoshkaBatchTopKSAE").prefixes == (3, 6, 12)


def test_a_threshold_that_was_never_set_lets_every_positive_latent_through():
    dictionary = _one(RECORDED / "library" / "unset")
    assert float(dictionary.selection.threshold) == 0
    x = load_file(RECORDED / "library" / "unset" / "ae.recorded")["x"]
    pre = (x - dictionary.b_dec) @ dictionary.W_enc.T + dictionary.b_enc
    torch.testing.assert_close(dictionary.encode(x), pre.relu())


def test_a_backup_is_scaled_as_the_library_scales_when_it_saves(copied):
    file = copied("backup") / "ae.pt"
    state = torch.load(file, weights_only=True)
    dictionary = _one(file)
    assert state["norm_factor"] == 7.5
    assert torch.equal(dictionary.b_dec, state["ae"]["b_dec"] * 7.5)
    assert torch.equal(dictionary.W_enc, state["ae"]["encoder.weight"])
    assert float(dictionary.selection.threshold) == float(state["ae"]["threshold"] * 7.5)
    assert dictionary.metadata["model_name"] == "a/model"
    torch.save(state | {"norm_factor": None}, file)
    assert torch.equal(_one(file).b_dec, state["ae"]["b_dec"])
    for factor in (0.0, -1, float("inf"), "7"):
        torch.save(state | {"norm_factor": factor}, file)
        assert _refusal(file) == f"norm_factor = {factor!r}; wanted a number above zero"


def test_an_unset_threshold_is_not_scaled(copied):
    file = copied("backup") / "ae.pt"
    state = torch.load(file, weights_only=True)
    state["ae"]["threshold"] = torch.tensor(-1.0)
    torch.save(state, file)
    assert float(_one(file).selection.threshold) == 0


def test_a_factor_in_the_configuration_has_been_folded_in_already(copied):
    folder = copied("BatchTopKSAE")
    before = _one(folder).b_dec
    _change(folder, trainer={"norm_factor": 10.0})
    assert torch.equal(_one(folder).b_dec, before)


def test_checkpoints_have_the_configuration_above_them():
    folder = RECORDED / "library" / "BatchTopKSAE" / "checkpoints"
    parts = dictionary_learning.read(folder)
    assert list(parts) == ["ae_10", "ae_20"]
    assert parts["ae_20"].selection.kind == "batchtopk"
    assert parts["ae_20"].metadata["hook_name"] == "resid_post_layer_3"


def test_files_from_before_k_was_a_tensor(copied):
    folder = copied("AutoEncoderTopK")
    _change(folder, {"k": None, "threshold": None})
    assert _one(folder).selection.k == 4
    _change(folder, trainer={"k": None})
    assert _refusal(folder) == "k = None; wanted a whole number"


def test_a_run_is_read_by_its_folders():
    parts = dictionary_learning.read(RECORDED / "ours")
    assert list(parts) == sorted(KINDS)


def test_where_it_comes_from(copied):
    metadata = _one(copied("AutoEncoderTopK")).metadata
    assert metadata["model_name"] == "a/model"
    assert metadata["hook_name"] == "resid_post_layer_3"
    assert metadata["dictionary_learning"]["trainer"]["auxk_alpha"] == 1 / 32


# --- files without a configuration ----------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
def test_a_class_may_follow_from_the_tensors_alone(copied, name):
    folder = copied(name)
    (folder / "config.json").unlink()
    if name in ("AutoEncoderTopK", "BatchTopKSAE"):
        assert _refusal(folder) == (
            f"no config.json beside {folder / 'ae.pt'} names its class, and its tensors could be "
            "AutoEncoderTopK or BatchTopKSAE; put a config.json there that says "
            '{"trainer": {"dict_class": ...}}'
        )
    else:
        assert _one(folder).selection.kind == KINDS[name][0]


def test_tensors_of_no_class(copied):
    folder = copied("AutoEncoder")
    (folder / "config.json").unlink()
    torch.save({"weight": torch.ones(3)}, folder / "ae.pt")
    assert "its tensors fit no class of dictionary_learning; put a config.json" in _refusal(folder)


# --- writing --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_read_is_what_was_written_bit_for_bit(name, dtype, tmp_path):
    written = MAKERS[name](dtype)
    written.metadata = {"model_name": "specimen", "hook_name": "blocks.2.hook_mlp_out", "seed": 3}
    dictionary_learning.write({"": written}, tmp_path)
    read = _one(tmp_path)
    assert type(read) is type(written)
    for attribute in NAMES:
        ours, theirs = getattr(written, attribute, None), getattr(read, attribute, None)
        assert (ours is None) == (theirs is None)
        assert ours is None or (torch.equal(ours, theirs) and theirs.dtype == dtype)
    assert (read.centred, read.prefixes) == (written.centred, written.prefixes)
    assert (read.selection.kind, read.selection.k) == (written.selection.kind, written.selection.k)
    if hasattr(written.selection, "threshold"):
        assert torch.equal(read.selection.threshold, written.selection.threshold)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["trainer"]["dict_class"] == name
    assert config["trainer"]["layer"] == 2
    assert read.metadata.pop("dictionary_learning")["trainer"]["lm_name"] == "specimen"
    assert read.metadata == written.metadata


def _tensors(folder):
    state = torch.load(folder / "ae.pt", weights_only=True)
    return {name: (value.dtype, value.tolist()) for name, value in sorted(state.items())}


@pytest.mark.parametrize("folder", FOLDERS, ids=_name)
def test_files_that_the_library_reads_are_what_is_written(folder, tmp_path):
    """From these very tensors it computed what is recorded beside them."""
    dictionary_learning.write(dictionary_learning.read(folder), tmp_path)
    assert _tensors(tmp_path) == _tensors(folder)
    config, wanted = (json.loads((at / "config.json").read_text()) for at in (tmp_path, folder))
    assert config["trainer"] | wanted["trainer"] == config["trainer"]


def test_a_threshold_keeps_all_its_digits(tmp_path):
    for threshold, dtype in ((0.7, torch.float64), (0.75, torch.float32), (0.0, torch.float32)):
        dictionary = FlatDictionary(*_parts(), _batch(threshold))
        dictionary_learning.write({"": dictionary}, tmp_path)
        assert _tensors(tmp_path)["threshold"] == (dtype, threshold or -1.0)
        assert float(_one(tmp_path).selection.threshold) == threshold


def _reasons(dictionary):
    return dictionary_learning.cannot_say({"": dictionary})


@pytest.mark.parametrize(
    ("selection", "centred"),
    [(SignedTopK(3), True), (GroupMax(3), True), (TopK(3), False), (_batch(), False),
     (JumpReLU(torch.ones(12)), True)],
)  # fmt: skip
def test_what_no_class_computes_is_refused(selection, centred, tmp_path):
    dictionary = FlatDictionary(*_parts(), selection, centred)
    does = "is" if centred else "is not"
    reason = (
        f"its latents are selected by {selection.kind} and b_dec {does} subtracted before "
        "encoding, and dictionary_learning has no class that does both"
    )
    assert _reasons(dictionary) == [reason]
    with pytest.raises(UserError, match=reason):
        dictionary_learning.write({"": dictionary}, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_other_structures_are_refused():
    what = "dictionary_learning has only plain and gated autoencoders"
    assert _reasons(Transcoder(*_parts(), ReLU())) == [f"it is a transcoder, and {what}"]
    normalised = NormalisedDictionary(FlatDictionary(*_parts(), ReLU()), "layer_norm")
    normal = "it is an autoencoder of normalised activations"
    assert _reasons(normalised) == [f"{normal}, and {what}"]


def test_every_other_meaning_is_refused():
    dictionary = FlatDictionary(*_parts(torch.float64), TopK(3), weighing="selected")
    dictionary.prefixes = (4, 12)
    dictionary.b_dec.data = dictionary.b_dec.float()
    assert _reasons(dictionary) == [
        "each latent is weighed by the length of its decoder row (selected), which "
        "dictionary_learning ignores",
        "it is nested, and dictionary_learning has a place for the prefixes [4, 12] only with "
        "batchtopk where b_dec is subtracted",
        "float64 weights: dictionary_learning computes in float32, so digits would be lost; "
        "convert the dictionary with .float() first",
        "tensors of several types: torch.float32, torch.float64",
    ]
    nested = _nested()
    for prefixes in ((4, 8), (4, 4, 12), (0, 12)):
        nested.prefixes = prefixes
        assert _reasons(nested) == [
            f"prefixes = {prefixes}; dictionary_learning wants rising numbers, the last of them "
            "all 12 latents"
        ]


def test_parts_are_folders(tmp_path):
    parts = {"trainer_0": MAKERS["AutoEncoder"](torch.float32), "trainer_1": _nested()}
    dictionary_learning.write(parts, tmp_path)
    assert list(dictionary_learning.read(tmp_path)) == list(parts)
    assert (
        "the part '..' cannot be a folder" in dictionary_learning.cannot_say({"..": _nested()})[0]
    )
    assert dictionary_learning.cannot_say({"a": _jump(), "b": _gated(torch.float64)}) == [
        "b: float64 weights: dictionary_learning computes in float32, so digits would be lost; "
        "convert the dictionary with .float() first"
    ]


# --- recognition ----------------------------------------------------------------------------------


def test_what_is_recognised(tmp_path):
    library = RECORDED / "library" / "BatchTopKSAE"
    for path in (RECORDED, library, library / "ae.pt", library / "checkpoints",
                 library / "checkpoints" / "ae_10.pt"):  # fmt: skip
        assert dictionary_learning.recognises(path)
    for path in (
        tmp_path,
        tmp_path / "nowhere",
        library / "config.json",
        RECORDED.parent / "openai",
    ):
        assert not dictionary_learning.recognises(path)


# --- damage ---------------------------------------------------------------------------------------


def test_nothing_there(tmp_path):
    wanted = f"no dictionary_learning dictionary at {tmp_path}: wanted an ae.pt"
    assert _refusal(tmp_path) == wanted
    assert "wanted an ae.pt" in _refusal(tmp_path / "nowhere")


class _Payload:
    def __init__(self, witness):
        self.witness = witness

    def __reduce__(self):
        return (Path.touch, (self.witness,))


def test_code_in_a_pickle_does_not_run(copied, tmp_path):
    file, witness = copied("AutoEncoder") / "ae.pt", tmp_path / "ran"
    for save in (torch.save, lambda value, at: at.write_bytes(pickle.dumps(value, 2))):
        save({"bias": _Payload(witness)}, file)
        message = _refusal(file)
        assert f"{file} holds more than tensors and plain values" in message
        assert not witness.exists()
    pickle.loads(file.read_bytes())
    assert witness.exists()  # as it would have


@pytest.mark.parametrize("left", [0, 5, 600, -1])
def test_cut_off_files(copied, left):
    file = copied("AutoEncoder") / "ae.pt"
    whole = file.read_bytes()
    file.write_bytes(whole[:left])
    assert str(file) in _refusal(file)
    file.write_bytes(whole)
    _one(file)


def test_a_file_of_something_else(copied):
    file = copied("AutoEncoder") / "ae.pt"
    torch.save([1, 2], file)
    assert _refusal(file) == f"{file} holds a list, wanted tensors by name"
    torch.save({"bias": 3, 4: torch.ones(2)}, file)
    assert "bias holds int, wanted a tensor (6,)" in _refusal(file)
    assert "unknown tensors: 4; wanted only " in _refusal(file)


def test_configurations_of_something_else(copied):
    folder = copied("AutoEncoder")
    (folder / "config.json").write_text('{"trainer": 3}')
    assert _refusal(folder) == (
        f"{folder / 'config.json'} has no 'trainer' with the settings of training"
    )
    (folder / "config.json").write_text("{")
    assert "is not valid JSON" in _refusal(folder)


def test_unknown_classes(copied):
    folder = copied("AutoEncoder")
    _change(folder, trainer={"dict_class": "AutoEncoderTop"})
    assert _refusal(folder) == (
        f"unknown dict_class 'AutoEncoderTop' of {folder / 'ae.pt'}; known: {', '.join(SHAPED)}; "
        "did you mean 'AutoEncoderTopK'?"
    )
    _change(folder, trainer={"dict_class": ["AutoEncoder"]})
    assert "unknown dict_class ['AutoEncoder'] of " in _refusal(folder)


SHAPED = ("AutoEncoder", "AutoEncoderNew", "GatedAutoEncoder", "AutoEncoderTopK", "BatchTopKSAE",
          "JumpReluAutoEncoder", "MatryoshkaBatchTopKSAE")  # fmt: skip


def test_tensors_that_are_missing_or_unknown(copied):
    folder = copied("AutoEncoder")
    _change(folder, {"bias": None, "decoder.bias": torch.ones(6)})
    assert _refusal(folder) == (
        f"the AutoEncoder in {folder / 'ae.pt'} has 2 problems:\n"
        "  - tensor bias (6,) is missing\n"
        "  - unknown tensors: decoder.bias; wanted only encoder.bias, bias, encoder.weight, "
        "decoder.weight"
    )


@pytest.mark.parametrize(
    ("name", "tensor", "found", "wanted"),
    [("AutoEncoder", "decoder.weight", (12, 6), (6, 12)),
     ("AutoEncoderTopK", "encoder.weight", (6, 12), (12, 6)),
     ("JumpReluAutoEncoder", "W_enc", (12, 6), (6, 12))],
)  # fmt: skip
@pytest.mark.parametrize("with_sizes", [True, False])
def test_matrices_that_lie_the_other_way(copied, name, tensor, found, wanted, with_sizes):
    folder = copied(name)
    sizes = {} if with_sizes else {"activation_dim": None, "dict_size": None}
    _change(folder, {tensor: torch.ones(found)}, trainer=sizes)
    assert _refusal(folder) == (
        f"tensor {tensor} has shape {found}, wanted {wanted}; it looks transposed"
    )


def test_sizes_that_the_configuration_denies(copied):
    folder = copied("AutoEncoder")
    _change(folder, trainer={"dict_size": 13})
    assert "tensor encoder.bias has shape (12,), wanted (13,)" in _refusal(folder)


def test_tensors_that_are_no_real_numbers(copied):
    folder = copied("AutoEncoder")
    _change(folder, {"bias": torch.ones(6, dtype=torch.int64)})
    assert "tensor bias holds torch.int64, wanted real numbers" in _refusal(folder)
    _change(folder, {"bias": torch.full((6,), float("inf"))})
    assert _refusal(folder) == "tensor bias holds values that are not finite"
    _change(folder, {"bias": torch.ones(6).bfloat16()})
    assert _refusal(folder) == "tensors of several types: torch.bfloat16, torch.float32"


def test_k_and_thresholds_that_do_not_fit(copied):
    folder = copied("BatchTopKSAE")
    for k, said in ((13, 13), (0, 0)):
        _change(folder, {"k": torch.tensor(k)}, trainer={"k": said})
        assert _refusal(folder) == f"k = {k} for 12 latents; wanted 1 <= k <= latents"
    _change(folder, {"k": torch.tensor(4)}, trainer={"k": 5})
    assert _refusal(folder) == "k is 4 in the file and 5 in config.json"
    _change(folder, {"k": torch.tensor(4.0)}, trainer={"k": 4})
    assert _refusal(folder) == "k = tensor(4.); wanted a whole number"
    for threshold in (torch.tensor(float("nan")), torch.ones(12), torch.tensor(1), 0.5):
        _change(folder, {"k": torch.tensor(4), "threshold": threshold})
        assert _refusal(folder) == f"threshold = {threshold!r}; wanted one real number"


@pytest.mark.parametrize("groups", [[3, 3, 5], [6, 0, 6], [12.0], []])
def test_groups_that_do_not_fit(copied, groups):
    folder = copied("MatryoshkaBatchTopKSAE")
    _change(folder, {"group_sizes": torch.tensor(groups)})
    assert _refusal(folder) == (
        f"group_sizes = {groups}; wanted whole numbers above zero that sum to 12"
    )


def test_transcoders_are_refused(copied):
    folder = copied("AutoEncoder")
    _change(folder, buffer={"io": "in_and_out"}, metadata=3)
    assert _refusal(folder) == (
        f"the AutoEncoder in {folder / 'ae.pt'} has 2 problems:\n"
        "  - it was trained from one place to another (buffer.io = 'in_and_out'), and only "
        "autoencoders are read\n"
        "  - metadata holds a int, wanted an object"
    )
    _change(folder, buffer={"io": "out"}, metadata={})
    _one(folder)
