"""``monosemy absorption``: what it prints, and where it writes."""

import json


def test_a_run_is_measured(monosemy, small, tmp_path):
    assert monosemy("train", *small, "--out", "run", "-q").code == 0
    words = ("absorption", "run", "--hierarchy", "letters", "--tokens", 500)
    said = monosemy(*words, "--json", "--out", "found.json")
    assert (said.code, said.err) == (0, "")
    found = json.loads(said.out)
    assert json.loads((tmp_path / "found.json").read_text()) == found
    assert found["hierarchy"] == "letters"
    assert set(found["controls"]) == {"neurons", "pca", "random"}
    told = monosemy(*words, "--no-controls", "-q")
    assert told.code == 0, told.err
    assert "letters on blocks.0.mlp.hook_post" in told.out
    assert "pca" not in told.out


def test_options_go_before_what_the_dictionary_says(monosemy, small, text):
    assert monosemy("train", *small, "--out", "run", "-q").code == 0
    words = ("absorption", "run/dictionary", "--hierarchy", "letters", "--tokens", 200, "--json")
    found = json.loads(monosemy(*words, "--no-controls", "--text", text).out)
    assert found["text"] == str(text)


def test_mistakes_are_told(monosemy, small):
    said = monosemy("absorption", "nowhere")
    assert said.code == 2
    assert "nowhere" in said.err
    assert monosemy("train", *small, "--out", "run", "-q").code == 0
    said = monosemy("absorption", "run", "--hierarchy", "wrods")
    assert (said.code, said.out) == (2, "")
    assert "did you mean 'words'?" in said.err
