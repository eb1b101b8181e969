import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from monosemy.dictionaries import files
from monosemy.foundation.errors import UserError


@pytest.fixture
def folder(make, tmp_path):
    """A whole dictionary on disk."""
    files.save(make("topk"), tmp_path / "dictionary")
    return tmp_path / "dictionary"


def _change(folder, tensors=None, **config):
    """Change settings (`None` removes one) and tensors of a saved dictionary."""
    settings = json.loads((folder / files.CONFIG).read_text()) | config
    kept = {key: value for key, value in settings.items() if value is not None}
    (folder / files.CONFIG).write_text(json.dumps(kept))
    stored = load_file(folder / files.WEIGHTS) | (tensors or {})
    save_file(
        {name: tensor for name, tensor in stored.items() if tensor is not None},
        folder / files.WEIGHTS,
    )


def _refusal(folder):
    with pytest.raises(UserError) as caught:
        files.load(folder)
    return str(caught.value)


# --- what is saved is what is loaded -------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_loaded_works_bit_for_bit_as_what_was_saved(
    make, saved_kind, rows, tmp_path, dtype
):
    saved = make(saved_kind).to(dtype)
    files.save(saved, tmp_path)
    loaded, rows = files.load(tmp_path), rows.to(dtype)
    for name in ("W_enc", "b_enc", "W_dec", "b_dec"):
        assert torch.equal(getattr(loaded, name), getattr(saved, name))
    # A row's pre-activations can differ in the last bit between batches, not between equal ones.
    assert torch.equal(loaded.encode(rows), saved.encode(rows))
    assert torch.equal(loaded(rows), saved(rows))
    assert loaded(rows).dtype == dtype
    assert not loaded.training


def test_saving_again_changes_no_byte_of_the_weights(make, saved_kind, tmp_path):
    files.save(make(saved_kind), tmp_path / "first")
    files.save(files.load(tmp_path / "first"), tmp_path / "second")
    for name in (files.WEIGHTS, files.CONFIG):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def test_the_form_is_the_one_others_read(make, tmp_path):
    dictionary = make("batchtopk")
    dictionary.metadata = {"model_name": "specimen", "hook_name": "blocks.0.mlp.hook_post"}
    files.save(dictionary, tmp_path)
    config = json.loads((tmp_path / "cfg.json").read_text())
    shapes = {k: tuple(v.shape) for k, v in load_file(tmp_path / "sae_weights.safetensors").items()}
    assert shapes == {
        "W_enc": (6, 10), "b_enc": (10,), "W_dec": (10, 6), "b_dec": (6,), "threshold": (10,)
    }  # fmt: skip
    assert config["architecture"] == "jumprelu"
    assert (config["d_in"], config["d_sae"], config["dtype"]) == (6, 10, "float32")
    assert config["metadata"]["training_architecture"] == "batchtopk"
    assert config["metadata"]["hook_name"] == "blocks.0.mlp.hook_post"
    assert files.load(tmp_path).metadata["model_name"] == "specimen"


def test_a_selection_without_a_form_is_refused(make, tmp_path):
    with pytest.raises(UserError, match="'signed_topk' has no form in this file format; known: "):
        files.save(make("pca"), tmp_path / "pca")
    assert not (tmp_path / "pca").exists()


# --- damage ---------------------------------------------------------------------------------------


def test_no_folder_no_configuration_no_weights(folder, tmp_path):
    assert _refusal(tmp_path / "nowhere") == (
        f"no dictionary at {tmp_path / 'nowhere'}: no such folder"
    )
    (folder / files.WEIGHTS).unlink()
    assert f"weights are missing: {folder / files.WEIGHTS} does not exist" in _refusal(folder)
    (folder / files.CONFIG).unlink()
    assert "the dictionary's configuration is missing" in _refusal(folder)


def test_a_configuration_that_is_no_object(folder):
    (folder / files.CONFIG).write_text("[1, 2]")
    assert _refusal(folder) == f"{folder / files.CONFIG} holds a list, wanted an object"
    (folder / files.CONFIG).write_text("{")
    assert "is not valid JSON" in _refusal(folder)


@pytest.mark.parametrize("left", [0, 5, 300, -1])
def test_cut_off_weights(folder, left):
    whole = (folder / files.WEIGHTS).read_bytes()
    (folder / files.WEIGHTS).write_bytes(whole[:left])
    message = _refusal(folder)
    assert f"{folder / files.WEIGHTS} is not a whole safetensors file" in message
    assert "copy it again from its source" in message
    (folder / files.WEIGHTS).write_bytes(whole)
    files.load(folder)


def test_a_missing_tensor(folder):
    _change(folder, {"b_enc": None})
    assert _refusal(folder) == "tensor b_enc (10,) is missing"


def test_a_tensor_of_another_shape(folder):
    _change(folder, {"W_dec": torch.zeros(6, 10)})
    assert _refusal(folder) == "tensor W_dec has shape (6, 10), wanted (10, 6)"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite(folder, value):
    _change(folder, {"b_dec": torch.tensor([0, 0, value, 0, 0, 0])})
    assert _refusal(folder) == "tensor b_dec holds values that are not finite"


def test_whole_numbers_are_no_weights(folder):
    _change(folder, {"b_dec": torch.zeros(6, dtype=torch.int64)})
    assert _refusal(folder) == "tensor b_dec holds torch.int64, wanted real numbers"


def test_an_unknown_architecture(folder):
    _change(folder, architecture="spline")
    assert (
        _refusal(folder) == "unknown architecture 'spline'; known: gated, jumprelu, standard, topk"
    )


@pytest.mark.parametrize("k", [None, 0, 11, 2.5, True])
def test_k_that_does_not_fit(folder, k):
    _change(folder, k=k)
    assert _refusal(folder) == f"k = {k!r}; wanted a whole number from 1 to 10"


def test_every_reason_is_given_at_once(folder):
    _change(
        folder,
        {"W_enc": torch.zeros(2, 2), "b_dec": None, "b_enc": torch.full((10,), float("nan"))},
        architecture="spline",
        normalize_activations="layer_norm",
        apply_b_dec_to_input=False,
    )
    assert _refusal(folder) == (
        f"the dictionary in {folder} has 6 problems:\n"
        "  - unknown architecture 'spline'; known: gated, jumprelu, standard, topk\n"
        "  - apply_b_dec_to_input = False, and only True is read\n"
        "  - normalize_activations = 'layer_norm', and only 'none' is read\n"
        "  - tensor W_enc has shape (2, 2), wanted (6, 10)\n"
        "  - tensor b_enc holds values that are not finite\n"
        "  - tensor b_dec is missing"
    ).replace("b_dec is missing", "b_dec (6,) is missing")


def test_sizes_that_are_missing(folder):
    _change(folder, {"b_dec": None}, d_in=None, d_sae="10")
    assert _refusal(folder) == (
        f"the dictionary in {folder} has 2 problems:\n"
        "  - d_in = None and d_sae = '10'; wanted two whole numbers above zero\n"
        "  - tensor b_dec is missing"
    )


# --- the library whose form it is -----------------------------------------------------------------


@pytest.mark.parametrize("kind", ["relu", "topk", "batchtopk"])
def test_saelens_reads_it_and_computes_the_same(make, kind, rows, tmp_path):
    sae_lens = pytest.importorskip("sae_lens")
    ours = make(kind)
    files.save(ours, tmp_path)
    theirs = sae_lens.SAE.load_from_disk(str(tmp_path), device="cpu").eval()
    with torch.no_grad():
        encoded = theirs.encode(rows)
        encoded = encoded.to_dense() if encoded.is_sparse else encoded
        torch.testing.assert_close(encoded, ours.encode(rows))
        torch.testing.assert_close(theirs.decode(encoded), ours(rows))
    assert (encoded != 0).any()
