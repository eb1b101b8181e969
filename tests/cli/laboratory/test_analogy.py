"""``monosemy lab analogy``: what it prints, and where it writes."""

from __future__ import annotations

import json


def test_a_world_and_its_figure(monosemy, tmp_path):
    words = ("lab", "analogy", "--attributes", 2, "--entities", 5, "--seed", 3)
    said = monosemy(*words, "--json", "--out", "found")
    assert (said.code, said.err) == (0, "")
    found = json.loads(said.out)
    assert json.loads((tmp_path / "found" / "analogy.json").read_text()) == found
    assert (tmp_path / "found" / "analogy.svg").read_text().startswith("<?xml")
    assert found["questions"] == 40
    assert "40 questions" in monosemy(*words, "-q").out


def write_family(folder):
    lines = ["king 1 0 0 1", "queen 1 0 1 0", "man 0 1 0 1", "woman 0 1 1 0", "boy 1 1 0 1",
             "girl 1 1 1 0"]  # fmt: skip
    (folder / "vectors.txt").write_text("\n".join(lines))
    (folder / "questions.txt").write_text(": family\nman woman king queen\nman woman boy girl\n")


def test_files_are_asked(monosemy, tmp_path):
    write_family(tmp_path)
    words = ("lab", "analogy", "--vectors", "vectors.txt", "--questions", "questions.txt")
    found = json.loads(monosemy(*words, "--ask", "woman - man + king", "--json").out)
    assert (found["covered"], found["correct"], found["ask"]["answer"]) == (2, 2, "queen")
    assert found["relations"]["family"]["pairs"] == 3
    assert "family" in monosemy(*words, "-q", "--out", "found").out
    assert (tmp_path / "found" / "analogy.svg").exists()


def test_a_model_and_a_dictionary_are_asked(monosemy, small, model, tmp_path):
    (tmp_path / "mine.txt").write_text(": names\ndef class if for\nif for x y\ndef class x y\n")
    words = ("lab", "analogy", "--questions", "mine.txt")
    said = monosemy(*words, "--model", model, "--site", "blocks.0.hook_resid_post", "--json")
    assert said.code == 0, said.err
    assert json.loads(said.out)["covered"] == 3
    assert monosemy("train", *small, "--out", "run", "-q").code == 0
    said = monosemy(*words, "--dictionary", "run", "--json")
    assert said.code == 0, said.err
    assert json.loads(said.out)["carriers"]["names"]["pairs"] == 3


def test_mistakes_are_told(monosemy, tmp_path):
    said = monosemy("lab", "analogy", "--ask", "king - man")
    assert said.code == 2
    assert "a question without vectors" in said.err
    said = monosemy("lab", "analogy", "--entities", 1)
    assert said.code == 2
    assert "entities is 1; wanted at least 3" in said.err
    said = monosemy("lab", "analogy", "--vectors", "absent.txt", "--ask", "a - b + c")
    assert (said.code, said.out) == (2, "")
    assert "absent.txt is no file" in said.err
