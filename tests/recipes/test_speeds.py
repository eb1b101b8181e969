import time

import pytest
import torch

from monosemy.recipes import speeds
from monosemy.recipes.speeds import measure, seconds


@pytest.fixture
def quick(monkeypatch):
    """Small readings, three rounds each."""
    sizes = {"WIDTH": 16, "LATENTS": 128, "BATCH": 64, "K": 4, "COPIED": 1 << 20, "_LONG": 0.0}
    for name, value in sizes.items():
        monkeypatch.setattr(speeds, name, value)


def test_every_reading_is_taken_and_told(quick):
    told = []

    class Task:
        def advance(self, amount=1, note=""):
            told.append(note)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    class Watching:
        def task(self, description, total, unit=""):
            told.append((description, total))
            return Task()

    found = measure("cpu", Watching())
    names = ["float32_gflops", "bfloat16_gflops", "copy_gb_s", "step_ms", "step_ms_proposals"]
    assert told[0] == ("measure cpu", 5)
    assert [note.split()[0] for note in told[1:]] == names
    assert all(found[name] > 0 for name in names)
    assert found["problem"] is None
    assert found["shape"] == {"width": 16, "latents": 128, "batch": 64, "k": 4}


def test_the_step_of_proposals_proposes(quick, monkeypatch):
    seen = []

    def advance(program, *_):
        seen.append(program.module.propose)

    monkeypatch.setattr(speeds, "advance_program", advance)
    measure("cpu")
    assert seen == [False] * 4 + [True] * 4


def test_plain_kernels_have_no_proposals(quick, monkeypatch):
    monkeypatch.setattr(speeds.routes, "name_for", lambda device, dtype: "portable")
    found = measure("cpu")
    assert found["step_ms"] > 0
    assert found["step_ms_proposals"] is None


def test_what_fails_is_said_and_what_was_read_before_is_kept(quick, monkeypatch):
    def broken(*_):
        raise RuntimeError("cannot cache function")

    monkeypatch.setattr(speeds, "advance_program", broken)
    found = measure("cpu")
    assert found["problem"] == "RuntimeError: cannot cache function"
    assert found["copy_gb_s"] > 0
    assert found["step_ms"] is None


def test_speeds_are_in_their_units(quick, monkeypatch):
    monkeypatch.setattr(speeds, "seconds", lambda work, device: 0.001)
    found = measure("cpu")
    assert found["float32_gflops"] == round(2 * 64 * 16 * 128 / 0.001 / 1e9, 2)
    assert found["copy_gb_s"] == round(2 * 2**20 / 0.001 / 1e9, 2)
    assert found["step_ms"] == 1.0


def test_the_first_call_is_not_counted_and_short_work_is_repeated(monkeypatch):
    calls = []

    def work():
        calls.append(1)
        time.sleep(0.05 if len(calls) == 1 else 0.001)

    monkeypatch.setattr(speeds, "_LONG", 0.0)
    assert 0.001 <= seconds(work, "cpu") < 0.03
    assert len(calls) == 4
    monkeypatch.setattr(speeds, "_LONG", 0.02)
    seconds(work, "cpu")
    assert len(calls) > 4 + 4


def test_an_accelerator_is_waited_for(monkeypatch):
    waits = []
    monkeypatch.setattr(torch.accelerator, "synchronize", lambda: waits.append(1))
    monkeypatch.setattr(speeds, "_LONG", 0.0)
    seconds(lambda: None, "cuda")
    assert len(waits) == 4
    seconds(lambda: None, "cpu")
    assert len(waits) == 4
