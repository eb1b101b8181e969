"""The run directory: configuration, seed, commit, versions, metrics, checkpoint; its only writer.

```
run.json        what was asked for, with what, where; written once, before the first step
metrics.jsonl   one JSON object per logged step
checkpoint.pt   the newest resumable state (tensors and plain values only)
```
"""

from __future__ import annotations

import io
import json
import platform
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from monosemy.foundation import storage
from monosemy.foundation.errors import UserError, refuse

VERSIONED = ("monosemy", "torch", "transformers", "tokenizers", "numpy")


class Journal:
    """Opens a run directory, or goes on with the run that it holds.

    Parameters
    ----------
    folder : the run directory; made if absent.
    configuration : everything that decides the result, as JSON values.

    Errors
    ------
    `UserError` where the folder holds a run of another configuration (each difference is named),
    or files that are no run.
    """

    def __init__(self, folder: Path, configuration: dict[str, Any]):
        self.folder = Path(folder)
        self.configuration = json.loads(json.dumps(configuration))
        if (self.folder / "run.json").exists():
            self._check_same()
        else:
            self._begin()

    # --- what the run is ---

    def _begin(self) -> None:
        if self.folder.exists() and not self.folder.is_dir():
            raise UserError(f"{self.folder} is a file; a run is a folder: name an empty or new one")
        # A kill during the very first write leaves the part of a file that begins with a dot.
        if self.folder.exists() and any(p.name[0] != "." for p in self.folder.iterdir()):
            raise UserError(
                f"{self.folder} holds files but no run (no run.json); name an empty or new folder"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        storage.write_json(
            self.folder / "run.json",
            {"configuration": self.configuration, "started": _now(), **provenance()},
        )

    def _check_same(self) -> None:
        there = storage.read_json(self.folder / "run.json", "the run's description")
        before = there.get("configuration", {})
        keys = sorted(set(before) | set(self.configuration))
        refuse(
            [
                f"{self.folder} holds a run with {key} = {before.get(key)!r}, "
                f"not {self.configuration.get(key)!r}; give the same settings to go on with it, "
                "or name another folder"
                for key in keys
                if before.get(key) != self.configuration.get(key)
            ],
            f"the run in {self.folder}",
        )

    # --- metrics ---

    def log(self, step: int, readings: dict[str, float]) -> None:
        """Append one line to ``metrics.jsonl``."""
        line = json.dumps({"step": step, **readings})
        storage.append_line(self.folder / "metrics.jsonl", line)

    def metrics(self) -> list[dict[str, float]]:
        """Every logged line; see `read_metrics`."""
        return read_metrics(self.folder)

    # --- checkpoints ---

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Make `state`, reached after `step` steps, the checkpoint. Atomic."""
        buffer = io.BytesIO()
        torch.save({"step": step, **state}, buffer)
        storage.write_bytes(self.folder / "checkpoint.pt", buffer.getvalue())

    def load(self) -> dict[str, Any] | None:
        """The newest checkpoint, or `None`. Metrics logged after it are dropped, to be made again."""
        path = self.folder / "checkpoint.pt"
        if not path.exists():
            self._keep_metrics_until(0)
            return None
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            step = int(state["step"])
        except Exception as error:
            raise UserError(
                f"{path} cannot be read ({type(error).__name__}); it was damaged after it was "
                "written. Remove it to start this run from its beginning"
            ) from error
        self._keep_metrics_until(step)
        return state

    def _keep_metrics_until(self, step: int) -> None:
        kept = [line for line in self.metrics() if line["step"] <= step]
        if kept or (self.folder / "metrics.jsonl").exists():
            text = "".join(json.dumps(line) + "\n" for line in kept)
            storage.write_text(self.folder / "metrics.jsonl", text)


def provenance() -> dict[str, Any]:
    """Commit, versions and hardware of this process."""
    return {
        "commit": _commit(),
        "command": sys.argv,
        "versions": {"python": platform.python_version(), **_versions()},
        "hardware": {
            "machine": platform.machine(),
            "system": platform.system(),
            "threads": torch.get_num_threads(),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
    }


def _versions() -> dict[str, str]:
    found = {}
    for name in VERSIONED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def _commit() -> str | None:
    """The commit of the source that runs, where it runs from a checkout."""
    here = Path(__file__).parent
    try:
        found = subprocess.run(
            ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12"],
            capture_output=True, text=True, timeout=5, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() or None


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def read_metrics(folder: Path) -> list[dict[str, float]]:
    """Every line that the run in `folder` logged, in order; one cut short by a kill is left out."""
    path = folder / "metrics.jsonl"
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines if line.endswith("}")]
