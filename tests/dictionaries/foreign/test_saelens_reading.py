"""Configurations are read as SAELens reads them, or refused."""

import pytest
import torch
from safetensors.torch import load_file

from monosemy.dictionaries import files


def _far(found, wanted):
    return float((found - wanted).abs().max() / wanted.abs().max())


def test_it_computes_what_saelens_computed(record):
    wanted = load_file(record / "expected.safetensors")
    loaded = files.load(record)
    with torch.no_grad():
        code, written = loaded.encode(wanted["rows"]), loaded(wanted["rows"])
    assert _far(code, wanted["code"]) < 1e-5
    assert _far(written, wanted["written"]) < 1e-5
    # Another dictionary would be far from it.
    assert (wanted["code"] != 0).any()
    assert _far(2 * code, wanted["code"]) > 0.1


def test_there_is_a_record_of_every_architecture(records, config_of, architectures):
    seen = {config_of(at).get("architecture") for at in records}
    assert architectures <= seen
    assert {"batchtopk", "matryoshka_batchtopk"} <= seen


@pytest.mark.parametrize("k", [None, 0, 11, 2.5, True, 10**400])
def test_k_that_does_not_fit(folder, k, refusal, change):
    change(folder, k=k)
    message = refusal(folder)
    assert message.startswith(f"k = {str(k)[:9]}")
    assert message.endswith("; wanted a whole number from 1 to 10")


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ({"apply_b_dec_to_input": 1}, "apply_b_dec_to_input = 1; wanted true or false"),
        ({"rescale_acts_by_decoder_norm": "yes"}, "decoder_norm = 'yes'; wanted true or false"),
        ({"reshape_activations": "fold"}, "reshape_activations = 'fold'; known: 'none', 'hook_z'"),
        ({"normalize_activations": "spin"}, "normalize_activations = 'spin'; known: none, layer_n"),
        ({"normalize_activations": ["none"]}, "normalize_activations = ['none']; wanted a text"),
        (
            {"normalize_activations": "expected_average_only_in"},
            "needs the factor that activations are scaled by, and the file does not hold it",
        ),
        (
            {"normalize_activations": "constant_scalar_rescale"},
            "needs the factor that activations are scaled by, and the file does not hold it",
        ),
        (
            {"normalize_activations": "covariance_whitening"},
            "a checkpoint of training whose whitening is not folded in yet",
        ),
        ({"dtype": "float8"}, "dtype = 'float8'; known: float16, bfloat16, float32, float64"),
        ({"matryoshka_widths": [5, 2]}, "matryoshka_widths = [5, 2]; wanted rising whole numbers"),
        ({"matryoshka_widths": {"a": 1}}, "wanted rising whole numbers up to 10"),
    ],
)
def test_a_setting_that_cannot_be(folder, setting, reason, refusal, change):
    change(folder, **setting)
    assert reason in refusal(folder)


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ({"apply_b_dec_to_input": True}, "of a transcoder must be false: b_dec is what it writes"),
        ({"normalize_activations": "layer_norm"}, "normalises what it reads and never takes it"),
        ({"d_out": 2**70}, "tensor W_dec has shape (10, 4), wanted (10, 1180591620717411303424)"),
        ({"d_out": -1}, "and d_out = -1; wanted three whole numbers above zero"),
    ],
)
def test_a_setting_that_cannot_be_for_a_transcoder(
    setting, reason, tmp_path, refusal, change, named
):
    files.save(named("transcoder"), tmp_path)
    change(tmp_path, **setting)
    assert reason in refusal(tmp_path)


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ({"max_iterations": 0}, "max_iterations = 0; wanted a whole number above zero, or null"),
        ({"residual_threshold": "low"}, "residual_threshold = 'low'; wanted a number"),
        ({"stop_on_duplicate_support": 1}, "stop_on_duplicate_support = 1; wanted true or false"),
        ({"apply_b_dec_to_input": False}, "without b_dec in its input has no form here"),
    ],
)
def test_a_setting_that_cannot_be_for_a_pursuit(setting, reason, tmp_path, refusal, change, named):
    files.save(named("matching pursuit"), tmp_path)
    change(tmp_path, **setting)
    assert reason in refusal(tmp_path)


def test_every_reason_is_given_at_once(folder, refusal, change):
    change(
        folder,
        {"W_enc": torch.zeros(2, 2), "b_dec": None, "b_enc": torch.full((10,), float("nan"))},
        k=0,
        normalize_activations="spin",
        d_in=None,
    )
    assert refusal(folder) == (
        f"the dictionary in {folder} has 6 problems:\n"
        "  - d_in = None and d_sae = 10; wanted two whole numbers above zero\n"
        "  - k = 0; wanted a whole number from 1 to 10\n"
        "  - normalize_activations = 'spin'; known: none, layer_norm, constant_norm_rescale, "
        "expected_average_only_in\n"
        "  - tensor W_enc has shape (2, 2), wanted (6, 10)\n"
        "  - tensor b_enc holds values that are not finite\n"
        "  - tensor b_dec (d_in,) is missing"
    )
