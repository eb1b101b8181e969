"""A run that was stopped, however, ends exactly where an uninterrupted one does."""

import os
import re
import runpy
import signal
import subprocess
import sys
import textwrap
import threading
from contextlib import contextmanager

import pytest
import torch

from monosemy.foundation.errors import Interrupted, UserError
from monosemy.training.journal import Journal
from monosemy.training.loop import Training, advance, fit, stop_requests

STEPS = 24


class Stopping:
    """A stream that does something when it has dealt a given number of batches."""

    def __init__(self, stream, after, act):
        self.stream, self.left, self.act = stream, after, act
        self.state_dict, self.load_state_dict = stream.state_dict, stream.load_state_dict

    @property
    def seconds(self):
        return self.stream.seconds

    def __next__(self):
        self.left -= 1
        if self.left == 0:
            self.act()
        return next(self.stream)


class Killed(BaseException):
    """Stands for a process that is gone from one moment to the next."""


def kill() -> None:
    raise Killed


def stopped_after(steps: int, training: Training, act) -> Training:
    training.stream = Stopping(training.stream, steps, act)
    return training


def readings(journal: Journal) -> list[dict[str, float]]:
    """Logged lines without the clock's."""
    ours = ("time", "tokens_per_second", "share_")
    return [{k: v for k, v in line.items() if not k.startswith(ours)} for line in journal.metrics()]


@pytest.fixture(params=["relu", "topk", "batchtopk"])
def selection(request) -> str:
    return request.param


@pytest.fixture
def uninterrupted(make_training, tmp_path):
    """Trains to the end in one go; gives the final state and the metrics."""

    def run(**settings):
        training = make_training(**settings)
        journal = Journal(tmp_path / "uninterrupted", {})
        fit(training, journal)
        return training.state_dict(), readings(journal)

    return run


def test_a_killed_run_goes_on_bit_for_bit(
    make_training, journal, uninterrupted, flat_state, selection
):
    whole, metrics = uninterrupted(selection=selection)
    with pytest.raises(Killed):
        fit(stopped_after(18, make_training(selection), kill), journal)
    assert journal.load()["step"] == 10, "the last checkpoint before the kill"

    again = make_training(selection)
    fit(again, journal)
    assert flat_state(again.state_dict()) == flat_state(whole)
    assert readings(journal) == metrics


def test_the_state_that_is_compared_holds_all_that_changes(make_training, journal, flat_state):
    """Weights, threshold, silence, warm-up, moments, position: none may be forgotten."""
    training = make_training()
    before = flat_state(training.state_dict())
    fit(training, journal)
    after = flat_state(training.state_dict())
    changed = {path.lstrip(".") for path in after if before.get(path) != after[path]}
    weights = {f"program.module.{name}" for name in ("W_enc", "b_enc", "W_dec", "b_dec")}
    moments = {f"optimiser.rows.{i}.{m}" for i in range(4) for m in ("mean", "variance")}
    rest = {"program.module.selection.threshold", "program.silent", "program.step", "stream.dealt"}
    assert weights | moments | rest <= changed


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("step", [7, 10])
def test_a_signal_saves_the_state_wherever_it_comes(
    make_training, journal, uninterrupted, flat_state, number, step
):
    whole, metrics = uninterrupted()
    training = stopped_after(step, make_training(), lambda: os.kill(os.getpid(), number))
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(Interrupted) as caught:
        fit(training, journal)
    assert str(caught.value) == (
        f"stopped after step {step} of {STEPS}; the state is saved in {journal.folder}. "
        "Run the same command again to go on from there"
    )
    assert journal.load()["step"] == step
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before

    again = make_training()
    fit(again, journal)
    assert flat_state(again.state_dict()) == flat_state(whole)
    assert readings(journal) == metrics


def test_going_on_without_the_saved_state_ends_elsewhere(
    make_training, journal, uninterrupted, flat_state
):
    """The negative control of the equalities above: a state that is not taken up shows."""
    whole, _ = uninterrupted()
    training = make_training()
    for step in range(10):
        advance(training, step)
    forgotten = make_training()
    forgotten.program.load_state_dict(training.program.state_dict())
    forgotten.stream.load_state_dict(training.stream.state_dict())  # but not the moments
    for step in range(10, STEPS):
        advance(forgotten, step)
    assert flat_state(forgotten.state_dict()) != flat_state(whole)


@pytest.fixture
def restored_handlers():
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_second_request_acts_at_once(restored_handlers):
    # A process started in the background may have been told to ignore it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with stop_requests() as stopped:
        assert not stopped()
        os.kill(os.getpid(), signal.SIGINT)
        assert stopped()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_in_another_thread_nobody_listens_and_training_goes_its_way(make_training, journal):
    training, failures = make_training(), []

    def work() -> None:
        try:
            fit(training, journal)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert not failures
    assert journal.load()["step"] == STEPS


def test_a_finished_run_takes_no_further_step(make_training, journal, flat_state):
    first = make_training()
    fit(first, journal)
    again = stopped_after(1, make_training(), kill)
    fit(again, journal)
    assert flat_state(again.program.state_dict()) == flat_state(first.program.state_dict())


def test_what_is_logged_and_when(make_training, journal):
    seen = []
    training = make_training(observer=lambda: seen.append(1) or {"heldout": 1.5})
    fit(training, journal)
    lines = journal.metrics()
    assert [line["step"] for line in lines] == [5, 10, 15, 20, 24], "every fifth, and the last"
    assert [line["step"] for line in lines if "heldout" in line] == [10, 20, 24]
    assert len(seen) == 3
    assert {"loss", "fvu", "dead", "l0", "l1", "gradient_norm", "time"} <= set(lines[-1])
    assert lines[-1]["loss"] < lines[0]["loss"]


def test_how_fast_it_went_is_logged_and_said(make_training, journal):
    notes = []

    class Watcher:
        @contextmanager
        def task(self, description, total, unit=""):
            class Task:
                def advance(self, amount=1, note=""):
                    notes.append(note)

            yield Task()

    fit(make_training(tokens_per_step=16), journal, Watcher())
    for line in journal.metrics():
        shares = {name: value for name, value in line.items() if name.startswith("share_")}
        assert set(shares) == {f"share_{part}" for part in ("input", "buffer", "step", "other")}
        assert sum(shares.values()) == pytest.approx(1, abs=1e-3)
        assert line["share_step"] > line["share_input"]
        assert line["tokens_per_second"] > 0
    said = [note for note in notes if note]
    assert re.fullmatch(r"loss [\d.]+ \((\w+ \d+ %(, )?)+\)", said[-1])
    assert re.search(r"step \d+ %", said[-1])
    assert all(re.fullmatch(r"loss [\d.]+", note) for note in said[:-1])


class Sick:
    """A program that learns until a given step, where its loss is no number."""

    def __init__(self, program, at, value):
        self.program, self.at, self.value, self.step = program, at, value, 0

    def __getattr__(self, name):
        return getattr(self.program, name)

    @property
    def module(self):
        return self.program.module

    def loss(self, batch):
        loss, found = self.program.loss(batch)
        self.step += 1
        return loss * (self.value if self.step == self.at else 1.0), found


@pytest.mark.parametrize(("at", "value"), [(15, float("nan")), (5, float("inf"))])
def test_a_loss_that_is_no_number_stops_the_run(make_training, journal, at, value):
    training = make_training()
    training.program = Sick(training.program, at, value)
    with pytest.raises(UserError) as caught:
        fit(training, journal)
    assert str(caught.value) == (
        f"the loss became {value} at step {at}; lower the learning rate. "
        f"The last checkpoint in {journal.folder} stands"
    )
    assert [line["step"] for line in journal.metrics()] == list(range(5, at, 5))


@pytest.mark.parametrize("stop", [False, True], ids=["checkpoint", "signal"])
def test_a_state_that_is_no_number_is_never_saved(make_training, journal, stop):
    """Step 8 is neither logged nor observed, but saved: the state of step 4 has to stand."""
    training = make_training(checkpoint=24 if stop else 4)
    training.program = Sick(training.program, 8, float("nan"))
    if stop:
        stopped_after(8, training, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(UserError, match="the loss became nan at step 8"):
        fit(training, journal)
    state = journal.load()
    assert state is None if stop else state["step"] == 4
    if state:
        weights = state["program"]["module"].values()
        assert all(torch.isfinite(tensor).all() for tensor in weights)


SCRIPT = """
    import sys, torch
    from pathlib import Path
    from monosemy.dictionaries.flat import FlatDictionary
    from monosemy.dictionaries.selection import BatchTopK
    from monosemy.foundation.errors import Interrupted
    from monosemy.tensors.compute import Compute
    from monosemy.training.journal import Journal
    from monosemy.training.loop import Rhythm, Training, fit
    from monosemy.training.objectives import LearnDictionary, ObjectiveConfig
    from monosemy.training.optim import OptimConfig, Optimiser
    from monosemy.training.start import look

    class Stream:
        dealt, wait_at, seconds = 0, None, {}
        def __next__(self):
            self.dealt += 1
            if self.dealt == self.wait_at:
                print("ready", flush=True)
                sys.stdin.readline()  # the line comes after the signal
            return torch.randn(16, 8, generator=torch.Generator().manual_seed(self.dealt))
        def state_dict(self):
            return {"dealt": self.dealt}
        def load_state_dict(self, state):
            self.dealt = state["dealt"]

    def train(folder, wait_at=None):
        stream = Stream()
        stream.wait_at = wait_at
        start = look(torch.randn(64, 8, generator=torch.Generator().manual_seed(0)))
        draw = Compute().generator("weights")
        dictionary = FlatDictionary.random(8, 32, BatchTopK(2), draw).train()
        program = LearnDictionary(dictionary, start, ObjectiveConfig(dead_after=64))
        optimiser = Optimiser(dictionary.parameters(), OptimConfig(), 20)
        training = Training(program, optimiser, stream, 20, Rhythm(log=5, checkpoint=10))
        fit(training, Journal(folder, {}))
        return training.state_dict()

    if __name__ == "__main__":
        try:
            train(Path(sys.argv[1]), wait_at=7)
        except Interrupted as stop:
            print(stop)
            sys.exit(stop.exit_code)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_process_that_is_told_to_stop_stops_cleanly_and_goes_on(tmp_path, flat_state, number):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    command = [sys.executable, str(script), str(tmp_path / "stopped")]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    out, _ = process.communicate("go on\n", timeout=120)
    assert process.returncode == Interrupted.exit_code
    assert "stopped after step 7 of 20; the state is saved" in out

    train = runpy.run_path(str(script))["train"]
    resumed, whole = train(tmp_path / "stopped"), train(tmp_path / "whole")
    assert flat_state(resumed) == flat_state(whole)
