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
    assert message == "SAELens' transcoders never subtract b_dec from what they read"
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
