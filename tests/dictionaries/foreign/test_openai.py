import pickle
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.foreign import openai
from monosemy.dictionaries.normalised import NormalisedDictionary
from monosemy.foundation.errors import UserError

RECORDED = Path(__file__).parents[2] / "reference" / "openai"
FILES = sorted(RECORDED.glob("*.pt"))
KINDS = {
    "relu": ("relu", False),
    "nameless": ("relu", False),
    "tied": ("relu", False),
    "identity": ("identity", False),
    "topk": ("topk", True),
    "live": ("topk", True),
    "topk_identity": ("raw_topk", True),
}


def _one(path, normalised=None):
    return openai.read(path, normalised)[""]


def _near(found, wanted):
    return float((found - wanted).detach().norm() / wanted.norm()) < 1e-5


@pytest.fixture
def file(tmp_path):
    """A copy of a file that the library wrote."""
    return Path(shutil.copy(RECORDED / "topk.pt", tmp_path / "7.pt"))


def _change(file, **values):
    """Change values of a saved state dict (dots are written __); `None` removes one."""
    given = {name.replace("__", "."): value for name, value in values.items()}
    state = torch.load(file, weights_only=True) | given
    torch.save({name: value for name, value in state.items() if value is not None}, file)


def _refusal(path):
    with pytest.raises(UserError) as caught:
        openai.read(path)
    return str(caught.value)


# --- the library's own numbers --------------------------------------------------------------------


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_it_computes_what_the_library_computes(file):
    dictionary, seen = _one(file), load_file(file.with_suffix(".recorded"))
    code = dictionary.encode(seen["x"])
    assert torch.equal(code != 0, seen["code"] != 0)
    assert _near(code, seen["code"])
    assert _near(dictionary.decode(seen["code"], seen["x"]), seen["out"])
    assert _near(dictionary(seen["x"]), seen["out"])
    assert not dictionary.training


@pytest.mark.parametrize("name", KINDS)
def test_topk_files_are_normalised_and_others_are_not(name):
    dictionary = _one(RECORDED / f"{name}.pt")
    kind, normalised = KINDS[name]
    assert dictionary.selection.kind == kind
    assert type(dictionary) is (NormalisedDictionary if normalised else FlatDictionary)


def test_the_rule_of_normalisation_can_be_overruled(file):
    seen = load_file(RECORDED / "topk.recorded")
    plain, wrapped = _one(file, normalised=False), _one(RECORDED / "relu.pt", normalised=True)
    assert not _near(plain.encode(seen["x"]), seen["code"])
    x = seen["x"]
    z = (x - x.mean(1, keepdim=True)) / (x.std(1, keepdim=True) + 1e-5)
    assert _near(plain.encode(z), seen["code"])
    assert type(wrapped) is NormalisedDictionary


def test_without_its_relu_a_topk_keeps_negative_entries():
    seen = load_file(RECORDED / "topk_identity.recorded")
    assert (_one(RECORDED / "topk_identity.pt").encode(seen["x"]) < 0).any()
    assert (seen["code"] != 0).sum(1).tolist() == [5] * len(seen["x"])
    relued = load_file(RECORDED / "topk.recorded")["code"]
    assert int((relued != 0).sum(1).min()) < 5


def test_no_activation_means_relu(tmp_path):
    file = Path(shutil.copy(RECORDED / "relu.pt", tmp_path))
    before = _one(file)
    _change(file, activation=None, activation_state_dict=None)
    assert _one(file).selection.kind == before.selection.kind == "relu"


def test_a_folder_of_layers(file):
    shutil.copy(RECORDED / "topk.pt", file.with_name("10.pt"))
    (file.parent / "readme.txt").touch()
    assert list(openai.read(file.parent)) == ["7", "10"]
    assert openai.recognises(file.parent)


@pytest.mark.parametrize("version", ["", "_v4", "_v5_32k", "_v5_128k"])
def test_published_places(version, tmp_path):
    for place, site in (("resid_post_mlp", "hook_resid_post"), ("mlp_post_act", "mlp.hook_post"),
                        ("resid_post_attn", "hook_resid_mid")):  # fmt: skip
        folder = tmp_path / f"{place}{version}" / "autoencoders"
        folder.mkdir(parents=True)
        file = Path(shutil.copy(RECORDED / "topk.pt", folder / "7.pt"))
        assert _one(file).metadata == {"model_name": "gpt2", "hook_name": f"blocks.7.{site}"}


def test_other_places_say_nothing(tmp_path):
    folder = tmp_path / "resid_post_mlp_v6" / "autoencoders"
    folder.mkdir(parents=True)
    for name in ("7.pt", "best.pt"):
        assert _one(Path(shutil.copy(RECORDED / "topk.pt", folder / name))).metadata == {}
    assert _one(RECORDED / "relu.pt").metadata == {}


def test_what_is_recognised(tmp_path):
    for file in FILES:
        assert openai.recognises(file)
    other, cut = tmp_path / "other.pt", tmp_path / "cut.pt"
    torch.save({"pre_bias": torch.ones(2), "encoder.weight": torch.ones(2)}, other)
    cut.write_bytes(FILES[0].read_bytes()[:900])
    for path in (other, cut, tmp_path / "nowhere.pt", tmp_path / "empty", RECORDED / "facts.json"):
        assert not openai.recognises(path)
    assert openai.FORMAT.write is None
    assert openai.FORMAT.refuse is None


# --- damage ---------------------------------------------------------------------------------------


def test_nothing_there(tmp_path):
    assert _refusal(tmp_path) == f"no OpenAI dictionary at {tmp_path}: wanted a .pt file"


class _Payload:
    def __init__(self, witness):
        self.witness = witness

    def __reduce__(self):
        return (Path.touch, (self.witness,))


def test_code_in_a_pickle_does_not_run(file, tmp_path):
    witness = tmp_path / "ran"
    for save in (torch.save, lambda value, at: at.write_bytes(pickle.dumps(value, 2))):
        save({"pre_bias": _Payload(witness), "latent_bias": 0, "encoder.weight": 0}, file)
        openai.recognises(file)
        assert f"{file} holds more than tensors and plain values" in _refusal(file)
        assert not witness.exists()
    pickle.loads(file.read_bytes())
    assert witness.exists()  # as it would have


@pytest.mark.parametrize("left", [0, 5, 900, -1])
def test_cut_off_files(file, left):
    whole = file.read_bytes()
    file.write_bytes(whole[:left])
    assert str(file) in _refusal(file)
    file.write_bytes(whole)
    _one(file)


def test_a_file_of_something_else(file):
    torch.save(torch.ones(3), file)
    assert _refusal(file) == f"{file} holds a Tensor, wanted tensors by name"


def test_tensors_that_are_missing_or_unknown(file):
    _change(file, pre_bias=None, encoder__bias=torch.ones(12))
    assert _refusal(file) == (
        f"the dictionary in {file} has 2 problems:\n"
        "  - tensor pre_bias (d,) is missing\n"
        "  - unknown tensors: encoder.bias; wanted only latent_bias, pre_bias, encoder.weight, "
        "decoder.weight"
    )


@pytest.mark.parametrize(
    ("name", "found"), [("encoder__weight", (6, 12)), ("decoder__weight", (12, 6))]
)
def test_matrices_that_lie_the_other_way(file, name, found):
    _change(file, **{name: torch.ones(found)})
    assert _refusal(file) == (
        f"tensor {name.replace('__', '.')} has shape {found}, wanted {found[::-1]}; "
        "it looks transposed"
    )


def test_tensors_that_are_no_real_numbers(file):
    _change(file, pre_bias=torch.ones(6, dtype=torch.int64))
    assert "tensor pre_bias holds torch.int64, wanted real numbers" in _refusal(file)
    _change(file, pre_bias=torch.full((6,), float("nan")))
    assert _refusal(file) == "tensor pre_bias holds values that are not finite"
    _change(file, pre_bias=torch.ones(6).double())
    assert _refusal(file) == "tensors of several types: torch.float32, torch.float64"


@pytest.mark.parametrize("name", ["GELU", 3, ["TopK"]])
def test_unknown_activations(file, name):
    """Where the library would take a ReLU and say nothing."""
    _change(file, activation=name)
    assert _refusal(file) == f"unknown activation {name!r}; known: ReLU, TopK, Identity"


def test_settings_of_topk_that_do_not_fit(file):
    _change(file, activation_state_dict={"k": 13, "postact_fn": "GELU"})
    assert _refusal(file) == (
        f"the dictionary in {file} has 2 problems:\n"
        "  - k = 13 for 12 latents; wanted 1 <= k <= latents\n"
        "  - activation TopK has postact_fn = 'GELU'; known: ReLU, Identity"
    )
    _change(file, activation_state_dict=None)
    assert "activation TopK has k = None; wanted a whole number" in _refusal(file)


def test_settings_that_a_live_module_says_twice(file):
    _change(file, activation__k=5)
    assert _one(file).selection.k == 5
    _change(file, activation__k=6)
    assert _refusal(file) == "activation TopK has k = '5 and 6'; wanted a whole number"
    _change(file, activation__k=6, activation__postact_fn="ReLU", activation_state_dict=None)
    assert _one(file).selection.k == 6
