"""``monosemy inspect``: what a dictionary is, from a shell."""

import json

import pytest
import torch

from monosemy.dictionaries import files
from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.selection import TopK
from monosemy.dictionaries.semantics import semantics


@pytest.fixture
def saved(tmp_path):
    """A folder with two dictionaries in the native form."""
    for layer in (0, 1):
        found = FlatDictionary.random(6, 1000, TopK(3), torch.Generator().manual_seed(layer))
        found.metadata = {"model_name": "specimen", "hook_name": f"blocks.{layer}.hook_resid_post",
                          "hook_name_out": f"blocks.{layer}.hook_mlp_out"}  # fmt: skip
        files.save(found, tmp_path / "all" / f"layer_{layer}")
    return tmp_path / "all"


def test_it_says_what_is_there(monosemy, saved):
    said = monosemy("inspect", saved)
    assert said.code == 0
    lines = [" ".join(line.split()) for line in said.out.splitlines()]
    assert lines[0] == f"{saved}: saelens (SAELens 6)"
    assert [line for line in lines if line.startswith("layer_")] == ["layer_0", "layer_1"]
    for line in ("structure autoencoder", "k 3", "latents 1,000", "centred yes", "skip no",
                 "hook_name blocks.1.hook_resid_post",
                 "hook_name_out blocks.1.hook_mlp_out"):  # fmt: skip
        assert line in lines


def test_json_of_one_part(monosemy, saved):
    found = json.loads(monosemy("inspect", saved, "--part", "layer_1", "--json").out)
    assert (found["format"], found["library"]) == ("saelens", "SAELens 6")
    only = found["parts"][""]
    assert only["semantics"] == semantics(files.load(saved / "layer_1"))
    assert only["metadata"]["hook_name"] == "blocks.1.hook_resid_post"


def test_what_is_no_dictionary(monosemy, tmp_path):
    said = monosemy("inspect", "nowhere")
    assert (said.code, said.out) == (2, "")
    assert "no dictionary at nowhere: no such file or folder" in said.err
    (tmp_path / "notes.txt").write_text("mine")
    said = monosemy("inspect", "notes.txt")
    assert said.code == 2
    assert "notes.txt is in no form that is known; known: saelens (SAELens 6), " in said.err
