"""A conversion is whole and the same, or nothing."""

import pytest
import torch

from monosemy.dictionaries import files
from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.foreign import formats
from monosemy.dictionaries.foreign.conversion import convert
from monosemy.dictionaries.foreign.format import Format
from monosemy.dictionaries.selection import TopK
from monosemy.dictionaries.semantics import differences
from monosemy.dictionaries.transcoders import Transcoder
from monosemy.foundation.errors import UserError


def _refusal(*given):
    with pytest.raises(UserError) as caught:
        convert(*map(str, given))
    return str(caught.value)


def test_it_says_what_was_done(folder, tmp_path):
    done = convert(str(folder), str(tmp_path / "new"), "sparsify")
    assert (done.read_as, done.written_as, done.parts) == ("saelens", "sparsify", ("",))
    sizes = {at.name: at.stat().st_size for at in (tmp_path / "new").iterdir()}
    assert done.files == sizes
    assert differences(files.load(folder), files.load(tmp_path / "new")) == []
    assert sorted(at.name for at in tmp_path.iterdir()) == ["dictionary", "new"]


def test_parts_stay_parts(named, tmp_path):
    for layer in (0, 1):
        files.save(named("topk"), tmp_path / "all" / f"layer_{layer}")
    convert(str(tmp_path / "all"), str(tmp_path / "new"), "monosemy")
    assert list(formats.read(tmp_path / "new")) == ["layer_0", "layer_1"]
    convert(str(tmp_path / "all"), str(tmp_path / "one"), "saelens", None, "layer_1")
    assert (tmp_path / "one" / files.CONFIG).exists()


def test_the_target_is_new_or_empty(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    convert(str(folder), str(tmp_path / "empty"), "saelens")
    again = _refusal(folder, tmp_path / "empty", "saelens")
    assert again == f"{tmp_path / 'empty'} is not empty; name a new folder, or an empty one"
    (tmp_path / "file").write_text("mine")
    assert "is a file; name a new folder" in _refusal(folder, tmp_path / "file", "saelens")


def test_what_a_form_cannot_say_is_refused_with_all_reasons(named, tmp_path):
    files.save(named("centred transcoder"), tmp_path / "one")
    message = _refusal(tmp_path / "one", tmp_path / "new", "saelens")
    assert message == (
        "SAELens' transcoders never subtract b_dec from what they read\n--fold writes a dictionary "
        "that computes the same, and folds the subtraction of b_dec into the encoder's bias"
    )
    assert not (tmp_path / "new").exists()
    assert "saelens_old is read, not written; written are: saelens" in _refusal(
        tmp_path / "one", tmp_path / "new", "saelens_old"
    )
    assert "did you mean 'sparsify'?" in _refusal(tmp_path / "one", tmp_path / "new", "sparsfy")


def _forgetful(keep):
    """A form that writes only what `keep` makes of a dictionary, and refuses nothing."""

    def write(collection, folder):
        for part, dictionary in collection.items():
            files.save(keep(dictionary), folder / part)

    def read(path):
        return {"": files.load(path, format="saelens")}

    return Format("forgetful", "none", lambda path: False, read, lambda collection: [], write)


def _uncentred(dictionary):
    names = "W_enc", "b_enc", "W_dec", "b_dec"
    return FlatDictionary(*(getattr(dictionary, name) for name in names), TopK(3), centred=False)


def test_a_writer_that_loses_something_is_found_out(folder, tmp_path, monkeypatch):
    monkeypatch.setitem(formats.FORMATS, "forgetful", _forgetful(lambda dictionary: dictionary))
    convert(str(folder), str(tmp_path / "same"), "forgetful")
    monkeypatch.setitem(formats.FORMATS, "forgetful", _forgetful(_uncentred))
    message = _refusal(folder, tmp_path / "new", "forgetful")
    assert message == (
        "centred is True in one and False in the other; nothing was written, as forgetful would "
        "change it"
    )
    assert not (tmp_path / "new").exists()
    assert sorted(at.name for at in tmp_path.iterdir()) == ["dictionary", "same"]


def _rounded(dictionary):
    with torch.no_grad():
        dictionary.W_dec.copy_(dictionary.W_dec.half().float())
    return dictionary


def test_a_writer_that_rounds_is_found_out(folder, tmp_path, monkeypatch):
    monkeypatch.setitem(
        formats.FORMATS, "forgetful", _forgetful(lambda found: _rounded(_copy(found)))
    )
    assert "W_dec holds other numbers" in _refusal(folder, tmp_path / "new", "forgetful")


def _copy(dictionary):
    names = "W_enc", "b_enc", "W_dec", "b_dec"
    parts = (getattr(dictionary, name).detach().clone() for name in names)
    return FlatDictionary(*parts, TopK(3))


# --- folding --------------------------------------------------------------------------------------


def test_on_request_a_rule_is_folded_into_the_weights(named, tmp_path, rows_for):
    saved = named("batchtopk")
    files.save(saved, tmp_path / "one")
    with pytest.raises(UserError, match="--fold writes a dictionary that computes the same, and"):
        convert(str(tmp_path / "one"), str(tmp_path / "new"), "gemma_scope")
    done = convert(str(tmp_path / "one"), str(tmp_path / "new"), "gemma_scope", fold=True)
    assert done.folded == ("the subtraction of b_dec into the encoder's bias",)
    assert 0 < done.difference < 1e-5
    found, x = files.load(tmp_path / "new"), rows_for(saved)
    assert not found.centred
    torch.testing.assert_close(found.encode(x), saved.encode(x))
    torch.testing.assert_close(found(x), saved(x))


def test_nothing_is_folded_that_can_be_said(folder, tmp_path):
    done = convert(str(folder), str(tmp_path / "new"), "sparsify", fold=True)
    assert (done.folded, done.difference) == ((), 0.0)
    assert differences(files.load(folder), files.load(tmp_path / "new")) == []


def test_what_cannot_be_folded_is_refused_either_way(named, tmp_path):
    files.save(named("matryoshka"), tmp_path / "one")
    plain = _refusal(tmp_path / "one", tmp_path / "new", "gemma_scope")
    assert "has 2 problems" in plain
    assert "--fold" not in plain  # it would not be enough
    with pytest.raises(UserError) as caught:
        convert(str(tmp_path / "one"), str(tmp_path / "new"), "gemma_scope", fold=True)
    assert "it is nested" in str(caught.value)
    assert "b_dec" not in str(caught.value)


# --- where it lies --------------------------------------------------------------------------------


def _transcoder(named, layer=0):
    found = named("jumprelu")
    names = "W_enc", "b_enc", "W_dec", "b_dec"
    parts = (getattr(found, name).detach().clone() for name in names)
    made = Transcoder(*parts, found.selection)
    made.metadata = {"hook_name": f"blocks.{layer}.mlp.hook_in",
                     "hook_name_out": f"blocks.{layer}.hook_mlp_out"}  # fmt: skip
    return made


def test_a_refusal_speaks_of_the_place_that_was_named(named, tmp_path):
    files.save(_transcoder(named), tmp_path / "one")
    target = tmp_path / "mine"
    message = _refusal(tmp_path / "one", target, "gemma_scope")
    assert f"this is a transcoder, and {target} does not" in message
    assert "write it below a folder called gemma-scope-transcoders" in message
    assert ".monosemy" not in message
    assert not target.exists()
    convert(str(tmp_path / "one"), str(tmp_path / "gemma-scope-transcoders/a"), "gemma_scope")


@pytest.mark.parametrize("below", ["embedding", "embedding/new", "embedding/a/new"])
def test_names_above_are_those_of_the_place(named, below, tmp_path):
    """Gemma Scope's embedding is told by one of three folders, which the target lies in."""
    files.save(named("uncentred"), tmp_path / "one")
    message = _refusal(tmp_path / "one", tmp_path / below, "gemma_scope")
    assert f"{tmp_path / below / 'params.npz'} is below a folder 'embedding'" in message
    convert(str(tmp_path / "one"), str(tmp_path / "embedding/a/b/new"), "gemma_scope")


def test_runs_below_one_folder_become_a_set_of_layers(named, tmp_path):
    for layer in (0, 1):
        files.save(_transcoder(named, layer), tmp_path / "runs" / f"k{layer + 7}" / "dictionary")
        (tmp_path / "runs" / f"k{layer + 7}" / "metrics.jsonl").write_text("{}")
    assert list(formats.read(tmp_path / "runs")) == ["k7/dictionary", "k8/dictionary"]
    done = convert(str(tmp_path / "runs"), str(tmp_path / "new"), "circuit_tracer")
    assert done.parts == ("layer_0", "layer_1")
    assert sorted(done.files) == ["config.yaml", "layer_0.safetensors", "layer_1.safetensors"]
    one, other = formats.read(tmp_path / "runs"), formats.read(tmp_path / "new")
    assert differences(one["k8/dictionary"], other["layer_1"]) == []
    message = _refusal(tmp_path / "runs/k8/dictionary", tmp_path / "alone", "circuit_tracer")
    assert "here the layer 1 is without 0; convert a folder that holds the dictionaries" in message
    convert(str(tmp_path / "runs/k7/dictionary"), str(tmp_path / "alone"), "circuit_tracer")
