"""Jobs in processes of their own: what they say, what they refuse, and a stop from outside."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from monosemy.foundation.errors import UserError
from monosemy.foundation.progress import SILENT
from monosemy.recipes.truth_pool import Job, run_in_pool
from monosemy.recipes.truth_table import Cell

WORLD = "conditional-rotated"
SMALL = {"tokens": 5_120, "samples": 1_000, "latents": 40}


def cell(folder, kind="batchtopk", seed=0, world=WORLD, changes=SMALL):
    return Cell(world, kind, seed, folder / f"{kind}-{seed}", changes)


def test_jobs_come_back_with_their_results(tmp_path):
    cells = [cell(tmp_path, kind) for kind in ("random", "pca", "oracle")]
    assert isinstance(cells[0], Job)
    shares = []

    class Task:
        def advance(self, amount=1, note=""):
            shares.append((note, amount))

    found = {one.kind: result for one, result in run_in_pool(cells, 2, Task())}
    assert {kind: result["dictionary"] for kind, result in found.items()} == {
        "random": "random", "pca": "pca", "oracle": "oracle"
    }  # fmt: skip
    assert all(one.file.exists() for one in cells)
    assert {note for note, _ in shares} == {"random, seed 0", "pca, seed 0", "oracle, seed 0"}


def test_a_refusal_comes_back_in_words(tmp_path):
    cells = [cell(tmp_path, world="nowhere")]
    with (
        SILENT.task("x", 1) as task,
        pytest.raises(UserError, match="batchtopk, seed 0: unknown world 'nowhere'"),
    ):
        list(run_in_pool(cells, 1, task))


@pytest.mark.slow
def test_a_stop_loses_nothing(tmp_path):
    words = [sys.executable, "-m", "monosemy", "truth", "table", WORLD, "--dictionary", "batchtopk",
             "--seeds", "2", "--jobs", "2", "--tokens", "400000", "--samples", "2000",
             "--json"]  # fmt: skip
    begun = subprocess.Popen(
        [*words, "--out", str(tmp_path / "stopped")], stderr=subprocess.PIPE,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    runs = [tmp_path / "stopped" / "batchtopk" / f"seed-{seed}" / "run" for seed in (0, 1)]
    while not all((run / "metrics.jsonl").exists() for run in runs):
        assert begun.poll() is None
        time.sleep(0.05)
    begun.send_signal(signal.SIGINT)
    _, said = begun.communicate(timeout=60)
    assert begun.returncode == 130
    assert b"run again" in said
    for run in runs:
        assert (run / "checkpoint.pt").exists()
        assert not (run.parent / "cell.json").exists()
    results = []
    for name in ("stopped", "whole"):
        done = subprocess.run(
            [*words, "--out", str(tmp_path / name)], capture_output=True, check=True
        )
        results.append(json.loads(done.stdout)["summary"])
    assert results[0] == results[1]
