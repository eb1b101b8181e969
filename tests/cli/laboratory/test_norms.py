"""``monosemy lab norms`` as a person meets it."""

import json


def test_the_toy_alone(monosemy, tmp_path):
    said = monosemy("lab", "norms", "--toy", "--json", "--out", "n")
    assert (said.code, said.err) == (0, "")
    found = json.loads(said.out)
    assert found["verdict"] == "holds"
    assert found["models"] == []
    assert len(found["toy"]["other"]["layernorm"]) == len(found["toy"]["gains"])
    assert (tmp_path / "n" / "norms-toy.svg").exists()
    assert json.loads((tmp_path / "n" / "norms.json").read_text()) == found


def test_what_cannot_be_is_refused_at_once(monosemy):
    said = monosemy("lab", "norms", "--seeds", 1, "--pools", 7)
    assert (said.code, said.out) == (2, "")
    assert "an interval needs at least two different ones" in said.err
    assert "pools = 7 do not divide width = 64" in said.err
