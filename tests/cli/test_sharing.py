"""``monosemy sharing``: what it prints, and where it writes."""

import json


def test_a_run_is_measured_beside_both_nulls(monosemy, small, tmp_path):
    assert monosemy("train", *small, "--out", "run", "-q").code == 0
    words = ("sharing", "run", "--tokens", 300, "--rank", 1, "--draws", 2)
    said = monosemy(*words, "--json", "--out", "found")
    assert (said.code, said.err) == (0, "")
    found = json.loads(said.out)
    assert json.loads((tmp_path / "found" / "sharing.json").read_text()) == found
    assert (tmp_path / "found" / "sharing.svg").read_text().startswith("<?xml")
    assert (tmp_path / "found" / "sharing.png").read_bytes().startswith(b"\x89PNG")
    assert found["nulls"]["rotated"]["draws"] == 2
    assert found["nulls"]["random_model"]["parents"] >= 8
    assert (tmp_path / "run" / "controls" / "random_model" / "dictionary").is_dir()
    told = monosemy(*words, "--no-random-model", "-q")
    assert told.code == 0, told.err
    assert "charts for 90 % (S90)" in told.out


def test_mistakes_are_told(monosemy, small):
    said = monosemy("sharing", "nowhere")
    assert said.code == 2
    assert "nowhere" in said.err
    assert monosemy("train", *small, "--out", "run", "-q").code == 0
    said = monosemy("sharing", "run", "--rank", 99, "--draws", 0, "-q")
    assert (said.code, said.out) == (2, "")
    assert "rank = 99 where activations have 32 numbers" in said.err
    assert "draws = 0; wanted at least 1" in said.err
