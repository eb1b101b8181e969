import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from monosemy.dictionaries.foreign.qwen_scope import FORMAT
from monosemy.dictionaries.selection import TopK
from monosemy.foundation.errors import UserError

REFERENCE = Path(__file__).parents[2] / "reference" / "qwen_scope"
FOLDER = REFERENCE / "SAE-Res-Qwen3-1.7B-Base-L0_4"


def _difference(dictionary, recorded):
    with torch.no_grad():
        found = dictionary.encode(recorded["x"]), dictionary(recorded["x"])
    wanted = recorded["code"], recorded["reconstruction"]
    return max(
        float((f - w).abs().max() / w.abs().max()) for f, w in zip(found, wanted, strict=True)
    )


def _refusal(path):
    with pytest.raises(UserError) as caught:
        FORMAT.read(path)
    return str(caught.value)


def _saved(folder, name="L0_4", **changes):
    """One file below a folder called `name`, its tensors changed."""
    tensors = torch.load(FOLDER / "layer2.sae.pt", weights_only=True) | changes
    (folder / name).mkdir(parents=True)
    at = folder / name / "layer2.sae.pt"
    torch.save({key: tensor for key, tensor in tensors.items() if tensor is not None}, at)
    return at


def test_codes_and_reconstructions_are_those_of_saelens():
    assert FORMAT.recognises(FOLDER)
    found = FORMAT.read(FOLDER)
    assert list(found) == ["layer2", "layer10"]
    for layer, dictionary in found.items():
        recorded = load_file(REFERENCE / f"{layer}.safetensors")
        assert _difference(dictionary, recorded) < 1e-6
        assert dictionary.metadata["hook_name"] == f"blocks.{layer[5:]}.hook_resid_post"
        # Some tokens have fewer than four positive pre-activations.
        assert set((recorded["code"] != 0).sum(1).tolist()) >= {3, 4}


def test_a_rule_left_out_would_be_seen():
    dictionary, recorded = (
        FORMAT.read(FOLDER)["layer2"],
        load_file(REFERENCE / "layer2.safetensors"),
    )
    dictionary.selection = TopK(5)
    assert _difference(dictionary, recorded) > 0.01
    dictionary.selection = TopK(4)
    assert _difference(dictionary, recorded) < 1e-6
    dictionary.centred = True
    assert _difference(dictionary, recorded) > 0.01


def test_a_file_alone_is_one_dictionary():
    assert list(FORMAT.read(FOLDER / "layer10.sae.pt")) == [""]
    assert not FORMAT.recognises(FOLDER / "layer10.pt")
    assert not FORMAT.recognises(FOLDER / "absent")


def test_the_nearest_name_says_how_many_are_active(tmp_path):
    at = _saved(tmp_path, "models--Qwen--SAE-L0_9/snapshots/0a1b/L0_3")
    assert FORMAT.read(at)[""].selection.k == 3
    at = _saved(tmp_path, "models--Qwen--SAE-Res-Qwen3-8B-Base-L0_5/snapshots/0a1b")
    assert FORMAT.read(at)[""].selection.k == 5
    with_link = tmp_path / "SAE-L0_2"
    with_link.mkdir()
    os.symlink(at, with_link / "layer2.sae.pt")
    assert FORMAT.read(with_link / "layer2.sae.pt")[""].selection.k == 2


def test_the_model_is_named_after_the_repository(tmp_path):
    draw = torch.Generator().manual_seed(0)
    tensors = {"W_enc": torch.randn(1024, 6, generator=draw), "b_enc": torch.zeros(1024)}
    tensors["W_dec"] = tensors["W_enc"].T.contiguous()
    name = "SAE-Res-Qwen3-1.7B-Base-W1K-L0_50"
    found = FORMAT.read(_saved(tmp_path, name, **tensors))[""]
    assert found.metadata["model_name"] == "Qwen/Qwen3-1.7B-Base"
    assert found.selection.k == 50


W = torch.load(FOLDER / "layer2.sae.pt", weights_only=True)["W_enc"]
BAD = {
    "missing": ({"b_dec": None}, "tensor b_dec (d,) is missing"),
    "extra": ({"threshold": W}, "unknown tensors: threshold"),
    "transposed": (
        {"W_enc": W.T.contiguous()}, "W_enc has shape (6, 12), wanted (12, 6); it looks transposed",
    ),
    "whole numbers": ({"W_dec": W.T.int()}, "tensor W_dec holds torch.int32"),
    "no tensor": ({"b_enc": [1.0]}, "b_enc holds list, wanted a tensor"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_tensors_that_do_not_fit_are_refused(case, tmp_path):
    changes, words = BAD[case]
    assert words in _refusal(_saved(tmp_path, **changes))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("somewhere", "put the file into a folder called L0_50, if it is 50"),
        ("L0_13", "the folder's name says L0_13 for 12 latents"),
        ("SAE-W1K-L0_4", "the folder's name says 1,024 latents, the tensors 12"),
    ],
)
def test_names_that_do_not_fit_are_refused(name, words, tmp_path):
    assert words in _refusal(_saved(tmp_path, name))


def test_a_cut_file_is_refused(tmp_path):
    at = _saved(tmp_path)
    whole = at.read_bytes()
    for size in (0, 1, len(whole) // 2, len(whole) - 1):
        at.write_bytes(whole[:size])
        assert str(at) in _refusal(at)


def test_a_file_with_code_is_refused_unread(tmp_path):
    class Trap:
        def __reduce__(self):
            return Path.touch, (tmp_path / "sprung",)

    at = _saved(tmp_path, W_enc=Trap())
    assert "to read it would run code from it, so it was not read" in _refusal(at)
    assert not (tmp_path / "sprung").exists()
    # The trap works where code is run.
    torch.load(at, weights_only=False)
    assert (tmp_path / "sprung").exists()


def test_other_contents_are_refused(tmp_path):
    at = _saved(tmp_path)
    torch.save([W], at)
    assert "holds a list, wanted tensors by name" in _refusal(at)
    shutil.rmtree(at.parent)
    assert "no layer{N}.sae.pt at" in _refusal(tmp_path)
