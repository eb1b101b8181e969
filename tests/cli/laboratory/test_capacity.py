"""``monosemy lab capacity`` as a person meets it."""

import json


def test_the_sums_alone(monosemy, tmp_path):
    said = monosemy("lab", "capacity", "--width", 64, "--features", 512, "--k", 4, "--calculate",
                    "--json", "--out", "c")  # fmt: skip
    assert (said.code, said.err) == (0, "")
    found = json.loads(said.out)
    assert found["experiment"] is None
    assert found["calculator"]["mean_squared_overlap_at_random"] == 1 / 64
    assert (tmp_path / "c" / "capacity-fits.svg").exists()
    assert json.loads((tmp_path / "c" / "capacity.json").read_text()) == found


def test_the_table(monosemy):
    said = monosemy("lab", "capacity", "--calculate")
    assert said.code == 0
    assert "told apart by one linear readout" in said.out


def test_what_cannot_be_is_refused_at_once(monosemy):
    said = monosemy("lab", "capacity", "--k", 600, "--tolerance", 0)
    assert (said.code, said.out) == (2, "")
    assert "k = 600 active in 512 axes; wanted at most so many" in said.err
    assert "tolerance = 0.0; wanted between 0 and 1" in said.err


def test_the_matrices_of_a_model(monosemy):
    said = monosemy("lab", "capacity", "--calculate", "--model", "specimen", "--json")
    names = [one["matrix"] for one in json.loads(said.out)["matrices"]]
    assert names == ["embeddings", "blocks.0, neurons' outputs", "unembeddings"]
    said = monosemy("lab", "capacity", "--calculate", "--model", "specimen", "-q")
    assert "unembeddings" in said.out
