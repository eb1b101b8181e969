"""``monosemy probe``: what it prints, and where it writes."""

import json


def test_a_run_is_probed(monosemy, small, tmp_path):
    assert monosemy("train", *small, "--out", "run", "-q").code == 0
    words = ("probe", "run", "--concepts", "spelling", "--k", "1,2", "--tokens", 400, "--folds", 3,
             "--limit", 2, "--no-random-model")  # fmt: skip
    said = monosemy(*words, "--json", "--out", "found.json", "--figure", "found.svg")
    assert (said.code, said.err) == (0, "")
    found = json.loads(said.out)
    assert json.loads((tmp_path / "found.json").read_text()) == found
    assert "<svg" in (tmp_path / "found.svg").read_text()
    assert set(found["groups"]["all"]["mean"]) == {"dictionary", "neurons", "pca", "random"}
    told = monosemy(*words, "--no-controls", "-q")
    assert told.code == 0, told.err
    assert "spelling on blocks.0.mlp.hook_post" in told.out
    assert "pca" not in told.out


def test_mistakes_are_told(monosemy, tmp_path):
    for words, message in (
        (("nowhere",), "nowhere"),
        (("nowhere", "--k", "1,two"), "wanted numbers with commas between"),
        (("nowhere", "--k", "0"), "each at least 1"),
        (("nowhere", "--figure", "a.pdf"), "ends in .svg or .png"),
        (("nowhere", "--folds", 2, "--tokens", 0), "this probing has 2 problems"),
    ):
        said = monosemy("probe", *words)
        assert (said.code, said.out) == (2, "")
        assert message in said.err
    assert list(tmp_path.iterdir()) == []
