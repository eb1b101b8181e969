"""``monosemy allocate``: what it prints, what it refuses, what it leaves behind."""

import json


def test_features_get_axes(monosemy, model, text, tmp_path):
    trained = monosemy(
        "train", "demo", "--model", model, "--text", text, "--tokens", 1024, "--latents", 32, "--k", 4,
        "--batch", 64, "--set", "context=16", "--site", "blocks.0.mlp.hook_post", "--out", "run", "-q",
    )  # fmt: skip
    assert trained.code == 0, trained.err
    pairs = tmp_path / "pairs.txt"
    pairs.write_text("e t\nr n\n", encoding="utf-8")
    words = ("allocate", "run", "--relation", pairs, "--out", "own", "--steps", 2, "--moving", 1,
             "--batch", 2, "--tokens", 4000, "--heldout", 2000)  # fmt: skip
    said = monosemy(*words, "--json")
    assert said.code == 0, said.err
    found = json.loads(said.out)
    assert found["proof"]["relative_float64"] < 1e-12
    assert (tmp_path / "own" / "model" / "config.json").exists()
    assert (tmp_path / "own" / "loss.svg").exists()
    told = monosemy(*words, "-q")
    assert told.code == 0, told.err
    assert "weights that read it" in told.out


def test_mistakes_are_told(monosemy, tmp_path):
    said = monosemy("allocate", "run", "--count", 0, "--by", "size", "--label", "x", "--out", "own")
    assert (said.code, said.out) == (2, "")
    for part in ("count = 0", "choose by 'size'", "--label needs the labels of an archive"):
        assert part in said.err
    assert (
        "'x' is no feature's number"
        in monosemy("allocate", "run", "--features", "x", "--out", "o").err
    )
    assert list(tmp_path.iterdir()) == []
