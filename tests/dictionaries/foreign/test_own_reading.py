"""Configurations under names of our own: every setting is checked before anything is built."""

import pytest

from monosemy.dictionaries import files


@pytest.mark.parametrize("name", ["spline", 7, None, ["topk"], {"topk": 1}])
def test_an_unknown_architecture(folder, name, refusal, change):
    change(folder, architecture=name)
    message = refusal(folder)
    assert message.startswith(f"unknown architecture {name!r}; known: abstopk, batchtopk, cross_")
    assert "standard, topk, transcoder" in message


def test_an_architecture_that_reads_more_than_one_token(folder, refusal, change):
    change(folder, architecture="temporal")
    assert "it reads the tokens before each token too" in refusal(folder)


@pytest.mark.parametrize(
    ("kind", "setting", "reason"),
    [
        ("selected", {"weighing": "heavy"}, "weighing = 'heavy'; known: none, rescaled, selected"),
        ("selected", {"selection": ["topk"]}, "selection = ['topk']; known: relu, identity, topk"),
        ("selected", {"k": 11}, "k = 11; wanted a whole number from 1 to 10"),
        ("selected", {"d_in": 0}, "d_in = 0; wanted a whole number above zero"),
        ("lista", {"step": "far"}, "step = 'far'; wanted a number"),
        ("crosscoder", {"widths": 12}, "widths = 12; wanted a list of whole numbers above zero"),
        ("crosscoder", {"scales": [1]}, "scales = [1]; wanted 2 numbers"),
        ("crosscoder", {"widths": [6, 7]}, "parts of [6, 7] numbers; wanted parts"),
        ("layers", {"latents_by_layer": []}, "latents_by_layer = []; wanted a list of whole"),
        ("layers", {"k_by_layer": [1]}, "k_by_layer = [1]; wanted 3 whole numbers"),
        ("layers", {"k_by_layer": [2, 4, 3]}, "k = 4; wanted a whole number from 1 to 3"),
        ("layers", {"d_layer": 5}, "tensor W_enc_0 has shape (5, 6), wanted (5, 5)"),
        ("pruned", {"pruning_threshold": "some"}, "pruning_threshold = 'some'; wanted a number"),
        ("pruned", {"inner": 7}, "inner = 7; wanted the configuration of the dictionary inside"),
        ("constant", {"norm": "loud"}, "norm = 'loud'; known: layer_norm, unit_norm, constant"),
    ],
)
def test_a_setting_of_ours_that_cannot_be(kind, setting, reason, tmp_path, refusal, change, named):
    files.save(named(kind), tmp_path)
    change(tmp_path, **setting)
    assert reason in refusal(tmp_path)


def test_dictionaries_nested_without_end(tmp_path, refusal, change, config_of, named):
    files.save(named("pruned"), tmp_path)
    inner = config_of(tmp_path)
    for _ in range(5):
        inner = {"architecture": "pruned", "pruning_threshold": 0, "inner": inner}
    change(tmp_path, **inner)
    assert "dictionaries are nested more than 3 deep" in refusal(tmp_path)
