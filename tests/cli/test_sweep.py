"""``monosemy sweep``: words in, a table, JSON or a refusal out."""

import json

import pytest


@pytest.fixture
def words(small) -> tuple[str, ...]:
    return ("sweep", "demo", *small, "--heldout", "200", "--over", "k=2,4", "--over", "seed=0,1")


NAMES = ["k=2,seed=0", "k=2,seed=1", "k=4,seed=0", "k=4,seed=1"]


def test_a_sweep_prints_its_table_and_leaves_runs(monosemy, words, tmp_path):
    done = monosemy(*words, "--out", "runs/s")
    assert done.code == 0, done.err
    for name in NAMES:
        assert name in done.out
        assert (tmp_path / "runs" / "s" / name / "dictionary").is_dir()
    assert "Figure: runs/s/pareto.svg; numbers: runs/s/sweep.json" in done.out
    assert "train:" in done.err
    again = monosemy(*words, "--out", "runs/s", "--json")
    assert again.err == ""
    report = json.loads(again.out)
    assert report == json.loads((tmp_path / "runs" / "s" / "sweep.json").read_text())
    one = monosemy("evaluate", f"runs/s/{NAMES[0]}", "--tokens", 200, "--no-random-model", "--json")
    own = json.loads(one.out)["metrics"]["l0"]["value"]
    assert own == pytest.approx(report["dictionaries"][0]["metrics"]["l0"]["value"])


def test_a_dry_run_names_them_and_trains_nothing(monosemy, words, tmp_path):
    done = monosemy(*words, "--dry-run")
    assert [line.partition(":")[0] for line in done.out.splitlines()[:4]] == NAMES
    assert "steps       16 of 32 activations, for all of them" in done.out
    assert not (tmp_path / "runs").exists()
    made = json.loads(monosemy(*words, "--dry-run", "--json").out)
    assert [one["name"] for one in made["dictionaries"]] == NAMES


def test_what_cannot_be_is_refused_in_words(monosemy):
    done = monosemy("sweep", "demo", "--over", "batch=1,2", "--over", "latens=3")
    assert done.code == 2
    assert "batch cannot be swept" in done.err
    assert "did you mean 'latents'?" in done.err
    assert "Traceback" not in done.err
    done = monosemy("sweep", "demo")
    assert (done.code, done.out) == (2, "")
    assert "nothing is swept; give --over KEY=VALUE,VALUE" in done.err
