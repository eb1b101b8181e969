import json
import pickle
from pathlib import Path

import pytest
import torch

from monosemy.foundation.errors import UserError
from monosemy.training import journal as module
from monosemy.training.journal import Journal, provenance

SETTINGS = {"k": 16, "optim": {"clip": 1.0}, "betas": (0.9, 0.999), "text": None}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a run."""
    return tmp_path / "run"


def test_a_run_says_what_it_is(folder):
    Journal(folder, SETTINGS)
    run = json.loads((folder / "run.json").read_text())
    assert run["configuration"] == {**SETTINGS, "betas": [0.9, 0.999]}
    assert set(run) == {"configuration", "started", "commit", "command", "versions", "hardware"}
    assert (
        run["versions"]["torch"] == torch.__version__.partition("+")[0] or run["versions"]["torch"]
    )
    assert run["hardware"]["threads"] == torch.get_num_threads()


def test_the_same_settings_go_on_and_leave_the_description_alone(folder):
    Journal(folder, SETTINGS)
    before = (folder / "run.json").read_bytes()
    Journal(folder, json.loads(json.dumps(SETTINGS)))  # a list where there was a tuple
    assert (folder / "run.json").read_bytes() == before


def test_other_settings_are_refused_with_every_difference(folder):
    Journal(folder, SETTINGS)
    other = {"k": 32, "optim": {"clip": 2.0}, "betas": (0.9, 0.999), "text": None, "new": 1}
    with pytest.raises(UserError) as caught:
        Journal(folder, other)
    headline, *reasons = str(caught.value).splitlines()
    advice = "; give the same settings to go on with it, or name another folder"
    assert headline == f"the run in {folder} has 3 problems:"
    assert reasons == [
        f"  - {folder} holds a run with k = 16, not 32{advice}",
        f"  - {folder} holds a run with new = None, not 1{advice}",
        f"  - {folder} holds a run with optim = {{'clip': 1.0}}, not {{'clip': 2.0}}{advice}",
    ]


def test_a_folder_of_something_else_is_refused(folder):
    folder.mkdir()
    (folder / "thesis.tex").write_text("")
    with pytest.raises(UserError) as caught:
        Journal(folder, SETTINGS)
    assert str(caught.value) == (
        f"{folder} holds files but no run (no run.json); name an empty or new folder"
    )
    assert [path.name for path in folder.iterdir()] == ["thesis.tex"]


def test_an_empty_folder_is_taken_and_a_file_is_not(tmp_path):
    (tmp_path / "empty").mkdir()
    Journal(tmp_path / "empty", SETTINGS)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file; a run is a folder"):
        Journal(tmp_path / "file", SETTINGS)


def test_a_damaged_description_is_refused(folder):
    folder.mkdir()
    (folder / "run.json").write_text("{")
    with pytest.raises(UserError, match="the run's description at .* is not valid JSON"):
        Journal(folder, SETTINGS)


def test_metrics_come_back_in_order(folder):
    journal = Journal(folder, SETTINGS)
    assert journal.metrics() == []
    journal.log(5, {"loss": 0.5})
    journal.log(10, {"loss": 0.25, "l0": 2.0})
    assert journal.metrics() == [{"step": 5, "loss": 0.5}, {"step": 10, "loss": 0.25, "l0": 2.0}]


def test_a_line_cut_short_by_a_kill_is_left_out(folder):
    journal = Journal(folder, SETTINGS)
    journal.log(5, {"loss": 0.5})
    with open(folder / "metrics.jsonl", "a") as file:
        file.write('{"step": 10, "los')
    assert journal.metrics() == [{"step": 5, "loss": 0.5}]
    journal.save(5, {})
    journal.load()
    journal.log(10, {"loss": 0.25})
    assert [line["step"] for line in journal.metrics()] == [5, 10]


def test_a_state_comes_back_bit_for_bit(folder):
    journal = Journal(folder, SETTINGS)
    assert journal.load() is None
    state = {"weights": {"W": torch.randn(3, 4)}, "count": torch.tensor([2**60 + 1]), "list": [1.5]}
    journal.save(7, state)
    found = Journal(folder, SETTINGS).load()
    assert found["step"] == 7
    assert torch.equal(found["weights"]["W"], state["weights"]["W"])
    assert torch.equal(found["count"], state["count"])
    assert found["list"] == [1.5]


def test_metrics_after_the_checkpoint_are_dropped_to_be_made_again(folder):
    journal = Journal(folder, SETTINGS)
    for step in (5, 10, 15):
        journal.log(step, {"loss": 1 / step})
    journal.save(10, {})
    journal.load()
    assert [line["step"] for line in journal.metrics()] == [5, 10]


def test_without_a_checkpoint_all_metrics_are_dropped(folder):
    journal = Journal(folder, SETTINGS)
    journal.log(5, {"loss": 0.5})
    assert journal.load() is None
    assert journal.metrics() == []


@pytest.mark.parametrize("damage", ["cut", "noise", "empty"])
def test_a_damaged_checkpoint_is_named_and_what_to_do(folder, damage):
    journal = Journal(folder, SETTINGS)
    journal.save(7, {"W": torch.randn(100)})
    path = folder / "checkpoint.pt"
    whole = path.read_bytes()
    path.write_bytes({"cut": whole[:200], "noise": bytes(range(256)), "empty": b""}[damage])
    with pytest.raises(UserError) as caught:
        journal.load()
    message = str(caught.value)
    assert message.startswith(f"{path} cannot be read (")
    assert message.endswith(
        "it was damaged after it was written. Remove it to start this run from its beginning"
    )
    path.write_bytes(whole)
    assert journal.load()["step"] == 7


class Malicious:
    """Runs a command where a pickle is opened without care."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize(
    "how", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))]
)
def test_a_checkpoint_cannot_run_code(folder, tmp_path, how):
    journal = Journal(folder, SETTINGS)
    trace = tmp_path / "the code ran"
    how({"step": 1, "weights": Malicious(trace)}, folder / "checkpoint.pt")
    with pytest.raises(UserError, match=r"checkpoint\.pt cannot be read"):
        journal.load()
    assert not trace.exists()

    pickle.loads(pickle.dumps(Malicious(trace)))
    assert trace.exists(), "opened without care, it does run"


def test_a_full_disk_is_said_in_words_when_a_line_is_logged(folder):
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    journal = Journal(folder, SETTINGS)
    (folder / "metrics.jsonl").symlink_to("/dev/full")
    with pytest.raises(UserError, match="no space left for"):
        journal.log(5, {"loss": 0.5})


def test_outside_a_checkout_there_is_no_commit(monkeypatch):
    monkeypatch.setattr(module, "__file__", "/")
    assert provenance()["commit"] is None


def test_a_package_that_is_not_there_is_said_to_be_absent(monkeypatch):
    monkeypatch.setattr(module, "VERSIONED", ("torch", "no-such-package"))
    versions = provenance()["versions"]
    assert versions["no-such-package"] == "not installed"
    assert versions["torch"] != "not installed"


def test_a_checkpoint_that_is_no_state_is_refused_in_words(tmp_path):
    journal = Journal(tmp_path / "run", {"a": 1})
    torch.save([1, 2], tmp_path / "run" / "checkpoint.pt")
    with pytest.raises(UserError, match=r"checkpoint\.pt cannot be read .*Remove it to start"):
        journal.load()


def test_what_a_kill_left_of_the_first_write_is_no_foreign_file(tmp_path):
    (tmp_path / ".run.json.abc").write_text("{")
    Journal(tmp_path, {"a": 1})
    assert (tmp_path / "run.json").exists()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="holds files but no run"):
        Journal(tmp_path / "other", {"a": 1})
