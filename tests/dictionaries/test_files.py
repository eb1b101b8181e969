"""Save and load by path: the native form, and any other."""

import pytest
import torch

from monosemy.dictionaries import files
from monosemy.foundation.errors import UserError


def test_what_is_loaded_works_bit_for_bit_as_what_was_saved(make, saved_kind, rows, tmp_path):
    saved = make(saved_kind)
    files.save(saved, tmp_path)
    loaded = files.load(tmp_path)
    for name in ("W_enc", "b_enc", "W_dec", "b_dec"):
        assert torch.equal(getattr(loaded, name), getattr(saved, name))
    # A row's pre-activations can differ in the last bit between batches, not between equal ones.
    assert torch.equal(loaded.encode(rows), saved.encode(rows))
    assert torch.equal(loaded(rows), saved(rows))
    assert not loaded.training


def test_a_path_may_be_a_text(make, tmp_path):
    files.save(make("topk"), str(tmp_path / "dictionary"))
    assert files.load(str(tmp_path / "dictionary")).selection.k == 3


def test_a_folder_of_dictionaries_has_parts(make, tmp_path):
    for layer in (10, 2):
        files.save(make("topk"), tmp_path / f"layer_{layer}")
    files.save(make("relu"), tmp_path / "layer_3")
    assert files.load(tmp_path, part="layer_3").selection.kind == "relu"
    with pytest.raises(UserError) as caught:
        files.load(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path} holds 3 dictionaries; name a part: 'layer_2', 'layer_3', 'layer_10'"
    )
    with pytest.raises(UserError) as caught:
        files.load(tmp_path, part="layer_4")
    assert str(caught.value) == (
        f"no part 'layer_4' at {tmp_path}; there are: 'layer_2', 'layer_3', 'layer_10'"
    )


def test_a_form_that_is_named_is_the_one_that_reads(make, tmp_path):
    files.save(make("topk"), tmp_path)
    assert files.load(tmp_path, format="saelens").latents == 10
    with pytest.raises(UserError, match="in SAELens' form of today; read it as saelens"):
        files.load(tmp_path, format="saelens_old")
