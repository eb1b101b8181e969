"""``monosemy convert``: from one library's files to another's, from a shell."""

import json

import pytest
import torch

from monosemy.dictionaries import files
from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.selection import BatchTopK, SignedTopK, TopK


@pytest.fixture
def saved(tmp_path):
    """A folder with a dictionary in the native form."""
    drawn = torch.Generator().manual_seed(0)
    found = FlatDictionary.random(6, 10, TopK(3), drawn)
    found.metadata = {"model_name": "specimen", "hook_name": "blocks.0.hook_resid_post"}
    files.save(found, tmp_path / "dictionary")
    return tmp_path / "dictionary"


def test_it_writes_and_says_so(monosemy, saved, tmp_path):
    said = monosemy("convert", saved, "new", "--to", "sparsify")
    assert said.code == 0
    assert "1 dictionary, read as saelens, written as sparsify to new" in said.out
    assert "Read back and compared: every bit means the same." in said.out
    assert files.load(tmp_path / "new").selection.k == 3


def test_json(monosemy, saved, tmp_path):
    said = monosemy("convert", saved, "new", "--to", "sparsify", "--from", "saelens", "--json")
    done = json.loads(said.out)
    assert (done["read_as"], done["written_as"], done["parts"]) == ("saelens", "sparsify", [""])
    assert done["files"]["cfg.json"] == (tmp_path / "new" / "cfg.json").stat().st_size


def test_a_refusal_is_one_message_and_leaves_nothing(monosemy, saved, tmp_path):
    files.save(FlatDictionary.random(6, 10, SignedTopK(3), torch.Generator()), tmp_path / "signed")
    said = monosemy("convert", "signed", "new", "--to", "gemma_scope")
    assert said.code == 2
    assert said.err.startswith("monosemy: what is to be written as gemma_scope has 2 problems:")
    assert "'signed_topk' is no threshold for each latent" in said.err
    assert "Traceback" not in said.err
    assert not (tmp_path / "new").exists()
    taken = monosemy("convert", saved, "signed", "--to", "saelens")
    assert (taken.code, taken.out) == (2, "")
    assert "signed is not empty; name a new folder, or an empty one" in taken.err


def test_help_has_examples(monosemy):
    said = monosemy("convert", "--help")
    assert "monosemy convert runs/demo/dictionary hf://me/my-dictionaries/demo" in said.out


def test_without_a_form_nothing_is_done(monosemy, saved):
    said = monosemy("convert", saved, "new")
    assert said.code == 2
    assert "--to" in said.err


def test_what_is_folded_is_said(monosemy, tmp_path):
    found = FlatDictionary.random(6, 10, BatchTopK(3), torch.Generator().manual_seed(0)).eval()
    found.b_dec.data += torch.linspace(-1, 1, 6)
    files.save(found, tmp_path / "mine")
    said = monosemy("convert", "mine", "scope", "--to", "gemma_scope")
    assert said.code == 2
    assert "and folds the subtraction of b_dec into the encoder's bias" in said.err
    said = monosemy("convert", "mine", "scope", "--to", "gemma_scope", "--fold")
    assert "Folded: the subtraction of b_dec into the encoder's bias." in said.out
    assert "The largest difference of a reconstruction, on random inputs: " in said.out
    assert "of its length." in said.out
    done = json.loads(
        monosemy("convert", "mine", "ae", "--to", "dictionary_learning", "--fold", "--json").out
    )
    assert (done["folded"], done["difference"]) == ([], 0)  # it has BatchTopK as it is
    done = json.loads(
        monosemy("convert", "mine", "b", "--to", "gemma_scope", "--fold", "--json").out
    )
    assert len(done["folded"]) == 1
    assert 0 < done["difference"] < 1e-5
