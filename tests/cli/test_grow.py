"""``monosemy grow``: what it prints, what it refuses, what it leaves behind."""

import json


def test_a_model_grows(monosemy, model, text, tmp_path):
    words = ("grow", model, "--mlp", "+8", "--residual", "+8", "--heads", "+1", "--text", text,
             "--tokens", 64)  # fmt: skip
    said = monosemy(*words, "--out", "larger", "--json")
    assert (said.code, said.err) == (0, "")
    found = json.loads(said.out)
    assert json.loads((tmp_path / "larger" / "growth.json").read_text()) == found
    assert [e["expansion"] for e in found["expansions"]] == ["mlp +8", "heads +1, residual +8"]
    assert found["max_abs_logit_difference_float64"] < 1e-12 * found["largest_logit"]
    told = monosemy(*words, "--out", "again", "-q")
    assert told.code == 0, told.err
    assert "real text" in told.out
    assert "again/growth.json" in told.out.replace("\n", "")
    assert monosemy("sites", "larger").code == 0


def test_a_dry_run(monosemy, model, tmp_path):
    said = monosemy("grow", model, "--layers", "3", "--dry-run", "-q")
    assert said.code == 0
    assert "after   4 layers" in said.out
    assert list(tmp_path.iterdir()) == []


def test_mistakes_are_told(monosemy, model, tmp_path):
    said = monosemy("grow", model, "--mlp", "-5", "--layers", "0", "--out", "x")
    assert (said.code, said.out) == (2, "")
    assert "--mlp -5" in said.err
    assert "--layers 0" in said.err
    assert "give --out FOLDER" in monosemy("grow", model, "--mlp", 5).err
    assert "nothing to grow" in monosemy("grow", model, "--out", "x").err
    said = monosemy("grow", model, "--residual", 8, "--out", "x", "-q")
    assert said.code == 2
    assert "ask for --heads +1 or --key +4 --value +4 with it" in said.err
    assert "unknown model" in monosemy("grow", "spcimen", "--mlp", 1, "--out", "x").err
    assert list(tmp_path.iterdir()) == []
