"""Work side by side in processes of its own, each on its share of the cores; a stop loses nothing."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import suppress
from multiprocessing.process import BaseProcess
from queue import Empty
from typing import Any, Protocol, runtime_checkable

from monosemy.foundation.errors import Interrupted, UserError
from monosemy.foundation.progress import Progress, Task
from monosemy.recipes.truth_shares import Shares

# Seconds between looks at whether a process is still there.
_LOOK = 1.0


@runtime_checkable
class Job(Protocol):
    """What is run: can be sent to another process, and keeps its own result on disk."""

    @property
    def name(self) -> str:
        """For a person."""

    def run(self, progress: Progress) -> dict[str, Any]:
        """Do it."""


def run_in_pool(
    jobs: Sequence[Any], workers: int, task: Task
) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Each job with its result, as they are done.

    Every worker takes one job after another and computes with ``cores / workers`` threads. A stop
    (SIGINT) is passed on, so that each job saves where it stands. Workers whose parent is gone end.

    Errors
    ------
    What a job refuses (`UserError`), once the others have been stopped; `Interrupted` after a stop.
    """
    context = multiprocessing.get_context("spawn")
    wanted, said = context.Queue(), context.Queue()
    for number in range(len(jobs)):
        wanted.put(number)
    threads = max(1, (os.cpu_count() or 1) // workers)
    processes = [
        context.Process(target=_work, args=(list(jobs), wanted, said, threads), daemon=True)
        for _ in range(min(workers, len(jobs)))
    ]
    for process in processes:
        wanted.put(None)
        process.start()
    try:
        yield from _results(jobs, said, processes, task)
        for process in processes:
            process.join()
    except KeyboardInterrupt:
        raise Interrupted(
            "stopped; what was finished is kept, and what was not goes on from its last state when "
            "the same command is run again"
        ) from None
    finally:
        _stop(processes, said)


def _results(
    jobs: Sequence[Any], said: Any, processes: Sequence[BaseProcess], task: Task
) -> Iterator[tuple[Any, dict[str, Any]]]:
    left = len(jobs)
    while left:
        try:
            number, what, value = said.get(timeout=_LOOK)
        except Empty:
            _refuse_lost(processes)
            continue
        if what == "share":
            task.advance(value, jobs[number].name)
        elif what == "done":
            left -= 1
            yield jobs[number], value
        elif what == "refused":
            raise UserError(f"{jobs[number].name}: {value}")
        elif what == "stopped":
            raise Interrupted(value)
        else:
            raise RuntimeError(f"{jobs[number].name} failed:\n{value}")


def _refuse_lost(processes: Sequence[BaseProcess]) -> None:
    """A process that was killed says nothing any more."""
    lost = [process.exitcode for process in processes if process.exitcode]
    if lost:
        raise RuntimeError(
            f"a process ended with {lost[0]} (out of memory?); run the same command again, with "
            "fewer jobs"
        )


def _stop(processes: Sequence[BaseProcess], said: Any) -> None:
    for process in processes:
        if process.is_alive() and process.pid:
            os.kill(process.pid, signal.SIGINT)
    for process in processes:
        while process.is_alive():
            # A process does not end before what it said has been taken.
            with suppress(Empty):
                said.get(timeout=0.1)
        process.join()


def _work(jobs: list[Any], wanted: Any, said: Any, threads: int) -> None:
    """What a process does: one job after another until there is none."""
    if hasattr(os, "setsid"):
        os.setsid()  # a stop typed in the terminal comes once, from the parent
    import torch

    torch.set_num_threads(threads)
    parent = os.getppid()
    try:
        while (number := wanted.get()) is not None:
            said.put((number, *_outcome(jobs[number], number, said, parent)))
    except KeyboardInterrupt:
        pass


def _outcome(job: Any, number: int, said: Any, parent: int) -> tuple[str, Any]:
    def tell(share: float) -> None:
        if os.getppid() != parent:  # nobody waits for this any more
            sys.exit(1)
        said.put((number, "share", share))

    try:
        return "done", job.run(Shares(tell))
    except Interrupted as stop:
        return "stopped", str(stop)
    except UserError as error:
        return "refused", str(error)
    except Exception:
        return "failed", traceback.format_exc()
