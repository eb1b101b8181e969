"""``monosemy census`` as a person meets it."""

import json
import subprocess
import sys


def test_json_is_a_list_of_models(monosemy):
    said = monosemy("census", "gpt-3", "specimen", "--json")
    assert (said.code, said.err) == (0, "")
    first, second = json.loads(said.out)
    assert first["units"] == first["layers"] * first["width"] == 1_179_648
    assert first["mlp_neurons"] == 4_718_592
    assert "Brown" in first["source"]
    assert second["name"] == "specimen"
    assert len(json.loads(monosemy("census", "--json").out)) > 60


def test_the_figure_and_its_numbers(monosemy, tmp_path):
    said = monosemy("census", "gpt2", "--out", "census")
    assert said.code == 0
    assert "gpt2" in said.out
    assert (tmp_path / "census" / "census.svg").exists()
    assert (
        json.loads((tmp_path / "census" / "census.json").read_text())["brains"][0]["neurons"] == 302
    )


def test_an_unknown_model_is_refused(monosemy):
    said = monosemy("census", "gpt-33")
    assert (said.code, said.out) == (2, "")
    assert "unknown model 'gpt-33'" in said.err
    assert "did you mean 'gpt-3'" in said.err


def test_it_answers_without_what_takes_long_to_import():
    program = (
        "import sys; from monosemy.cli import cli; cli(['census', 'gpt2'], standalone_mode=False);"
        "print([name for name in ('torch', 'numpy', 'transformers', 'matplotlib')"
        " if name in sys.modules])"
    )
    out = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert out.stdout.rstrip().endswith("[]")
