"""A changed model as a folder: whole or absent."""

import pytest
import torch

from monosemy.foundation.errors import UserError
from monosemy.models.loading import load
from monosemy.recipes.model_folder import (
    proof_contexts,
    refuse_altered,
    taken,
    whole_folder,
    write_model,
)


def test_a_folder_is_there_whole_or_not_at_all(tmp_path):
    with whole_folder(tmp_path / "whole") as folder:
        (folder / "a").write_text("1")
        assert not (tmp_path / "whole").exists()
    assert (tmp_path / "whole" / "a").read_text() == "1"

    def broken():
        with whole_folder(tmp_path / "broken") as folder:
            (folder / "a").write_text("1")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        broken()
    assert [path.name for path in tmp_path.iterdir()] == ["whole"]
    assert "exists already" in taken(tmp_path / "whole")[0]
    assert taken(tmp_path / "new") == taken(None) == []


def test_what_is_written_opens_again_bit_for_bit(model_folder, tmp_path):
    loaded = load(model_folder)
    with whole_folder(tmp_path / "again") as folder:
        final = write_model(loaded.model, loaded, "float32", folder)
    again = load(tmp_path / "again")
    refuse_altered(final, again.model, tmp_path)
    assert again.tokenizer("def")["input_ids"] == loaded.tokenizer("def")["input_ids"]
    with torch.no_grad():
        next(again.model.parameters()).add_(1)
    with pytest.raises(UserError, match="differs from what was saved"):
        refuse_altered(final, again.model, tmp_path)


def test_models_are_compared_on_real_and_on_random_tokens(model_folder, text_folder):
    loaded = load(model_folder)
    found = proof_contexts(loaded, str(text_folder), 64, 0)
    assert set(found) == {"text", "random"}
    assert all(ids.shape == (2, 32) for ids in found.values())
    assert not torch.equal(found["text"], found["random"])
