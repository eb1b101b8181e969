"""The native form: what is saved is what is loaded, and damage is named."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from monosemy.dictionaries import files
from monosemy.dictionaries.semantics import differences

# --- what is saved is what is loaded -------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_loaded_works_bit_for_bit_as_what_was_saved(case, tmp_path, dtype, rows_for):
    saved = case[0].to(dtype)
    files.save(saved, tmp_path)
    loaded, drawn = files.load(tmp_path), rows_for(saved)
    assert differences(saved, loaded) == []
    # A row's pre-activations can differ in the last bit between batches, not between equal ones.
    assert torch.equal(loaded.encode(drawn), saved.encode(drawn))
    assert torch.equal(loaded(drawn), saved(drawn))
    assert loaded(drawn).dtype == dtype
    assert not loaded.training


def test_saving_again_changes_no_byte(case, tmp_path):
    files.save(case[0], tmp_path / "first")
    files.save(files.load(tmp_path / "first"), tmp_path / "second")
    for name in (files.WEIGHTS, files.CONFIG):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_kept(dtype, tmp_path, named):
    saved = named("jumprelu").to(dtype)
    files.save(saved, tmp_path)
    loaded = files.load(tmp_path)
    assert loaded.W_enc.dtype == loaded.selection.threshold.dtype == dtype
    assert differences(saved, loaded) == []


def test_types_that_differ_meet_in_the_wider_one(folder, change):
    change(folder, {"b_dec": torch.ones(6, dtype=torch.float64)})
    loaded = files.load(folder)
    assert loaded.W_enc.dtype == loaded.b_dec.dtype == torch.float64


def test_the_form_is_the_one_others_read(tmp_path, config_of, named):
    dictionary = named("batchtopk")
    dictionary.metadata = {"model_name": "specimen", "hook_name": "blocks.0.mlp.hook_post"}
    files.save(dictionary, tmp_path)
    config = config_of(tmp_path)
    shapes = {k: tuple(v.shape) for k, v in load_file(tmp_path / files.WEIGHTS).items()}
    assert shapes == {
        "W_enc": (6, 10), "b_enc": (10,), "W_dec": (10, 6), "b_dec": (6,), "threshold": (10,)
    }  # fmt: skip
    assert config["architecture"] == "jumprelu"
    assert (config["d_in"], config["d_sae"], config["dtype"]) == (6, 10, "float32")
    assert config["metadata"]["training_architecture"] == "batchtopk"
    assert config["metadata"]["hook_name"] == "blocks.0.mlp.hook_post"
    assert config["metadata"]["sae_lens_version"] == "6.0.0"
    assert files.load(tmp_path).metadata["model_name"] == "specimen"


def test_the_k_of_batchtopk_is_kept_beside_its_threshold(case, tmp_path, change, config_of):
    dictionary = case[0]
    if dictionary.selection.kind != "batchtopk":
        pytest.skip("it is not BatchTopK")
    files.save(dictionary, tmp_path)
    assert config_of(tmp_path)["metadata"]["batchtopk_k"] == 3
    loaded = files.load(tmp_path)
    assert (loaded.selection.kind, loaded.selection.k) == ("batchtopk", 3)
    assert "batchtopk_k" not in loaded.metadata
    # What another program makes of it counts: thresholds that differ, or no k that is one.
    change(tmp_path, metadata=config_of(tmp_path)["metadata"] | {"batchtopk_k": "3"})
    assert files.load(tmp_path).selection.kind == "jumprelu"
    files.save(dictionary, tmp_path)
    change(tmp_path, {"threshold": torch.linspace(0.1, 1, 10)})
    assert files.load(tmp_path).selection.kind == "jumprelu"


def test_prefixes_are_kept_as_saelens_names_them(tmp_path, config_of, named):
    files.save(named("matryoshka"), tmp_path)
    about = config_of(tmp_path)["metadata"]
    assert about["matryoshka_widths"] == [2, 5, 10]
    assert about["training_architecture"] == "matryoshka_batchtopk"
    loaded = files.load(tmp_path)
    assert loaded.prefixes == (2, 5, 10)
    # A dictionary that is nested no longer says so.
    loaded.prefixes = ()
    files.save(loaded, tmp_path)
    assert files.load(tmp_path).prefixes == ()


def test_a_last_prefix_that_is_not_written_down_is_all_latents(folder, change):
    change(folder, metadata={"monosemy_version": "1", "matryoshka_widths": [2, 5]})
    assert files.load(folder).prefixes == (2, 5, 10)


@pytest.mark.parametrize("name", ["blocks.1.attn.hook_z", "blocks.1.hook_resid_post"])
@pytest.mark.parametrize("reshape", ["none", "hook_z"])
def test_the_rule_of_heads_is_kept(folder, name, reshape, tmp_path, change, config_of):
    about = {"monosemy_version": "1", "hook_name": name}
    change(folder, reshape_activations=reshape, metadata=about)
    files.save(files.load(folder), tmp_path / "again")
    assert config_of(tmp_path / "again")["reshape_activations"] == reshape
    assert "reshape_activations" not in config_of(tmp_path / "again")["metadata"]


def test_heads_lie_flat_at_hook_z(tmp_path, config_of, named):
    dictionary = named("relu")
    dictionary.metadata = {"hook_name": "blocks.1.attn.hook_z"}
    files.save(dictionary, tmp_path)
    assert config_of(tmp_path)["reshape_activations"] == "hook_z"


def test_files_beside_are_left_alone(folder):
    save_file({"sparsity": torch.zeros(10)}, folder / "sparsity.safetensors")
    (folder / "runner_cfg.json").write_text("{")
    (folder / "trainer_state.pt").write_bytes(b"no matter what")
    assert files.load(folder).latents == 10


# --- checkpoints of training ----------------------------------------------------------------------


def test_the_factor_of_a_checkpoint_lies_beside(folder, refusal, change, rows_for):
    plain = files.load(folder)
    (folder / "activation_scaler.json").write_text('{"scaling_factor": 0.25}')
    change(folder, normalize_activations="expected_average_only_in")
    scaled, drawn = files.load(folder), rows_for(plain)
    torch.testing.assert_close(scaled.encode(drawn), plain.encode(0.25 * drawn))
    torch.testing.assert_close(scaled(drawn), plain(0.25 * drawn) / 0.25)
    (folder / "activation_scaler.json").write_text('{"scaling_factor": -1}')
    assert refusal(folder) == "scaling_factor = -1; wanted a number above zero"


def test_a_logarithm_of_thresholds_is_undone(tmp_path, change, named):
    files.save(named("jumprelu"), tmp_path)
    threshold = load_file(tmp_path / files.WEIGHTS)["threshold"]
    change(tmp_path, {"threshold": None, "log_threshold": threshold.log()})
    torch.testing.assert_close(files.load(tmp_path).selection.threshold.detach(), threshold)


def test_settings_of_training_are_kept(folder, change):
    change(folder, l1_coefficient=5.0)
    assert files.load(folder).metadata["training_architecture_details"] == {"l1_coefficient": 5.0}


# --- damage ---------------------------------------------------------------------------------------


def test_no_folder_no_configuration_no_weights(folder, tmp_path, refusal):
    assert refusal(tmp_path / "nowhere") == (
        f"no dictionary at {tmp_path / 'nowhere'}: no such file or folder"
    )
    (folder / files.WEIGHTS).rename(tmp_path / "kept")
    assert f"weights are missing: {folder / files.WEIGHTS} does not exist" in refusal(folder)
    (tmp_path / "kept").rename(folder / files.WEIGHTS)
    (folder / files.CONFIG).unlink()
    assert "the dictionary's configuration is missing" in refusal(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2]", "holds a list, wanted an object"),
        ("{", "is not valid JSON"),
        ("7" * 5000, "is not valid JSON"),
        ("[" * 100_000, "is not valid JSON"),
        ("\x00", "is not valid JSON"),
    ],
)
def test_a_configuration_that_is_no_object(folder, text, message, refusal):
    (folder / files.CONFIG).write_text(text)
    assert f"{folder / files.CONFIG} {message}" in refusal(folder)


@pytest.mark.parametrize("left", [0, 5, 300, -1])
def test_cut_off_weights(folder, left, refusal):
    whole = (folder / files.WEIGHTS).read_bytes()
    (folder / files.WEIGHTS).write_bytes(whole[:left])
    message = refusal(folder)
    assert f"{folder / files.WEIGHTS} is not a whole safetensors file" in message
    assert "copy it again from its source" in message
    (folder / files.WEIGHTS).write_bytes(whole)
    files.load(folder)


def test_missing_and_unknown_tensors(folder, refusal, change):
    change(folder, {"b_enc": None})
    assert refusal(folder) == "tensor b_enc (10,) is missing"
    change(folder, {"b_enc": torch.zeros(10), "threshold": torch.zeros(10)})
    assert refusal(folder) == ("unknown tensors: threshold; wanted only W_dec, W_enc, b_enc, b_dec")


def test_a_transposed_matrix(folder, refusal, change):
    change(folder, {"W_dec": torch.zeros(6, 10)})
    assert refusal(folder) == (
        "tensor W_dec has shape (6, 10), wanted (10, 6); it looks transposed"
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite(folder, value, refusal, change):
    change(folder, {"b_dec": torch.tensor([0, 0, value, 0, 0, 0])})
    assert refusal(folder) == "tensor b_dec holds values that are not finite"


def test_whole_numbers_are_no_weights(folder, refusal, change):
    change(folder, {"b_dec": torch.zeros(6, dtype=torch.int64)})
    assert refusal(folder) == "tensor b_dec holds torch.int64, wanted real numbers"
