"""From a run to absorption: texts, labels, controls, and what is refused."""

import json
from dataclasses import replace

import pytest
import torch

from monosemy.data.labels.hierarchies import open_hierarchy
from monosemy.dictionaries import files
from monosemy.foundation.errors import UserError
from monosemy.recipes.absorption import measure_absorption, open_dictionary, read_labelled
from monosemy.recipes.dictionary import train_dictionary


@pytest.fixture
def labelled_run(recipe, tmp_path):
    """A finished run, and a file that labels words of its text."""
    run = tmp_path / "run"
    train_dictionary(recipe, run)
    return run, label_file(recipe, tmp_path / "mine.jsonl")


def label_file(recipe, path):
    from monosemy.data.text import open_corpus

    kinds = {
        "def": "keyword",
        "return": "keyword",
        "import": "keyword",
        "self": "name",
        "the": None,
    }
    lines = []
    for document in open_corpus(recipe.text, "all").documents:
        at = 0
        for word in document.text.split(" "):
            if word in kinds:
                lines.append({"document": document.name, "start": at, "end": at + len(word),
                              "parent": kinds[word], "child": word, "token": "last"})  # fmt: skip
            at += len(word) + 1
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return path


def test_a_run_is_measured_beside_its_controls(labelled_run):
    run, labels = labelled_run
    found = measure_absorption(run, labels, tokens=400).to_json()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["hierarchy"] == "mine"
    assert set(found["controls"]) == {"neurons", "pca", "random"}
    own = found["absorption"]
    assert {one["label"] for one in own["labels"]} | set(own["left_out"]) == {"keyword", "name"}
    assert own["counted"] >= 1, "the last letter of a word shows in a model of letters"
    for label in own["labels"]:
        assert label["probe_f1"] > 0.6
        assert 1 <= len(label["latents"]) <= 10
    # The controls are asked for the same labels.
    for one in found["controls"].values():
        assert one["counted"] == own["counted"]


def test_it_is_the_same_twice_and_without_controls(labelled_run):
    run, labels = labelled_run
    first = measure_absorption(run, labels, tokens=300).to_json()
    again = measure_absorption(run, labels, tokens=300, controls=False).to_json()
    assert again.pop("controls") == {}
    first.pop("controls")
    assert again == first


def test_a_dictionary_says_where_it_belongs(labelled_run):
    run, labels = labelled_run
    recipe, dictionary = open_dictionary(run / "dictionary", {})
    of_run, _ = open_dictionary(run, {})
    for key in ("model", "site", "text", "context"):
        assert getattr(recipe, key) == getattr(of_run, key)
    assert dictionary.latents == of_run.latents
    report = measure_absorption(run / "dictionary", labels, tokens=300, controls=False)
    whole = measure_absorption(run, labels, tokens=300, controls=False)
    assert report.to_json() == whole.to_json()


def test_a_dictionary_that_does_not_say_is_refused(labelled_run, tmp_path):
    run, _ = labelled_run
    _, dictionary = open_dictionary(run, {})
    dictionary.metadata = {}
    files.save(dictionary, tmp_path / "bare")
    with pytest.raises(UserError) as caught:
        measure_absorption(tmp_path / "bare")
    said = str(caught.value)
    for key in ("model", "site", "text"):
        assert f"does not say its {key}; name it: --{key}" in said


def test_what_cannot_be_measured_is_refused_before_text_is_read(labelled_run, monkeypatch):
    run, labels = labelled_run
    monkeypatch.setattr(
        "monosemy.recipes.absorption.open_setting", lambda *_: pytest.fail("it read text")
    )
    with pytest.raises(UserError, match="tokens is 0; wanted at least 1"):
        measure_absorption(run, labels, tokens=0)
    with pytest.raises(UserError, match="unknown hierarchy 'wrods'"):
        measure_absorption(run, "wrods")
    with pytest.raises(UserError, match="labels at none.jsonl cannot be read"):
        measure_absorption(run, "none.jsonl")
    (run / "dictionary" / files.CONFIG).unlink()
    with pytest.raises(UserError, match="has no dictionary yet"):
        measure_absorption(run, labels)


def test_transcoders_are_refused(recipe, tmp_path):
    chosen = replace(recipe, structure="transcoder", site="blocks.0.mlp.hook_in",
                     target="blocks.0.hook_mlp_out")  # fmt: skip
    train_dictionary(chosen, tmp_path / "run")
    with pytest.raises(UserError, match="writes another place than it reads"):
        measure_absorption(tmp_path / "run", "letters")


def test_halves_are_of_different_documents(recipe):
    found = read_labelled(recipe, open_hierarchy("letters"), 300)
    held = found.heldout
    documents = found.labels.document
    assert not set(documents[held].tolist()) & set(documents[~held].tolist())
    assert len(found.activations) == len(found.labels) == len(held)
    assert torch.isfinite(found.activations).all()
    assert found.activations.shape[1] == 32
