"""Tables: means and paired differences by hand, cells that are kept, jobs that change nothing."""

import json

import pytest
import torch
from scipy import stats

from monosemy.foundation.errors import UserError
from monosemy.foundation.progress import Silent
from monosemy.recipes import truth_table
from monosemy.recipes.truth_table import Cell, differences, interval, run_table, summarise

WORLD = "conditional-rotated"
SMALL = {"tokens": 10_240, "samples": 2_000, "latents": 60}
KINDS = ("batchtopk", "random")


def made(kind, seed, **values):
    metrics = {name: {"value": value} for name, value in values.items()}
    return {"dictionary": kind, "seed": seed, "parameters": 10, "metrics": metrics}


def test_the_interval_is_students():
    values = [0.3, 0.5, 0.1, 0.4]
    found = interval(values)
    low, high = stats.t.interval(0.95, 3, loc=0.325, scale=stats.sem(values))
    assert found == pytest.approx({"value": 0.325, "low": low, "high": high, "seeds": 4})
    assert interval([0.3]) == {"value": 0.3, "low": None, "high": None, "seeds": 1}
    assert interval([])["value"] is None


def test_means_over_seeds_and_what_is_not_defined():
    cells = [made("a", 0, f1=0.2, fvu=None), made("a", 1, f1=0.4, fvu=None), made("b", 0, f1=1.0)]
    found = summarise(cells)
    assert found["a"]["f1"]["value"] == pytest.approx(0.3)
    assert found["a"]["fvu"]["value"] is None
    assert found["b"]["f1"]["seeds"] == 1
    assert found["a"]["parameters"]["value"] == 10


def test_differences_are_paired():
    """What seeds have in common drops out: the difference is known better than either mean."""
    cells = []
    for seed, luck in enumerate((0.0, 0.3, 0.1)):
        cells += [made("a", seed, f1=0.1 + luck), made("b", seed, f1=0.2 + luck + 0.01 * seed)]
    found = differences(cells, "a")
    assert found["against"] == "a"
    one = found["kinds"]["b"]["f1"]
    assert one["value"] == pytest.approx(0.11)
    mean = summarise(cells)["a"]["f1"]
    assert one["high"] - one["low"] < 0.2 * (mean["high"] - mean["low"])
    assert "a" not in found["kinds"]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    folder = tmp_path_factory.mktemp("table")
    return run_table(WORLD, KINDS, 2, SMALL, out=folder), folder


def test_a_table_holds_its_cells(table):
    report, folder = table
    assert report == json.loads((folder / "table.json").read_text())
    assert (report["kinds"], report["seeds"]) == (list(KINDS), [0, 1])
    assert report["world_seeds"] == [0, 1]
    assert [(c["dictionary"], c["seed"]) for c in report["cells"]] == [
        ("batchtopk", 0), ("random", 0), ("batchtopk", 1), ("random", 1)
    ]  # fmt: skip
    kept = json.loads((folder / "batchtopk" / "seed-1" / "cell.json").read_text())
    assert kept == report["cells"][2]
    by_hand = (report["cells"][0]["f1"] + report["cells"][2]["f1"]) / 2
    assert report["summary"]["batchtopk"]["f1"]["value"] == pytest.approx(by_hand)


def test_what_is_there_is_not_made_again(table, monkeypatch):
    report, folder = table
    monkeypatch.setattr(truth_table, "run_cell", None)
    assert run_table(WORLD, KINDS, 2, SMALL, out=folder) == report


def test_a_lost_cell_is_made_again_as_it_was(table):
    report, folder = table
    (folder / "batchtopk" / "seed-0" / "cell.json").unlink()
    again = run_table(WORLD, KINDS, 2, SMALL, out=folder)
    assert again["summary"] == report["summary"]


def test_cells_of_other_conditions_are_not_taken(table):
    _, folder = table
    with pytest.raises(UserError, match=r"made with another protocol \(latents = 60, not 61\)"):
        run_table(WORLD, ("random",), 1, {**SMALL, "latents": 61}, out=folder)
    with pytest.raises(UserError, match=r"another recipe \(optim = .*; name another folder"):
        run_table(WORLD, ("batchtopk",), 1, SMALL, {"optim.clip": 0.5}, out=folder)


def test_jobs_side_by_side_find_the_same(tmp_path):
    # A job has one thread, and products round by how many there are.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        report = run_table(WORLD, KINDS, 2, SMALL, out=tmp_path / "one")
    finally:
        torch.set_num_threads(threads)
    seen = []

    class Watched(Silent):
        def task(self, description, total, unit=""):
            seen.append((description, total, unit))
            return super().task(description, total, unit)

    again = run_table(WORLD, KINDS, 2, SMALL, out=tmp_path / "t", jobs=2, progress=Watched())
    assert again["summary"] == report["summary"]
    assert seen == [(WORLD, 4, "cells")]


def test_settings_are_for_kinds_that_learn(tmp_path):
    found = run_table(WORLD, KINDS, 1, SMALL, {"optim.clip": "0.5"}, out=tmp_path)
    assert found["cells"][0]["recipe"]["optim"]["clip"] == 0.5
    assert found["cells"][1]["recipe"] is None


def test_a_cell_says_who_it_is(tmp_path):
    cell = Cell(WORLD, "topk", 3, tmp_path)
    assert cell.name == "topk, seed 3"
    assert cell.file == tmp_path / "cell.json"


def test_what_cannot_be_is_refused_before_anything_is_made(tmp_path):
    with pytest.raises(UserError) as refused:
        run_table(WORLD, ("topk", "topk", "tpk"), 0, out=tmp_path / "t", jobs=0)
    for reason in ("seeds = 0; wanted at least 1", "jobs = 0; wanted at least 1",
                   "a dictionary is named twice: topk, topk, tpk",
                   "unknown dictionary 'tpk'"):  # fmt: skip
        assert reason in str(refused.value)
    assert not (tmp_path / "t").exists()
