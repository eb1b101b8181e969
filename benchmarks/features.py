"""Milliseconds to draw a batch of known truth, against the training step that eats it and SAELens.

Every contestant is a process of its own: our world, a BatchTopK step of the dictionary that is trained
on it (`peers/ours.py`), and, where there is an environment with it, SAELens' synthetic model of the
same configuration, with the dense tensors of its default (its sparse ones take minutes a batch at 16k).
They take turns with the same threads, so that all see the same load; the median over rounds counts.
`active` is the mean number of active features of what was drawn: the same world, seen to be.

    python benchmarks/features.py [--peer saelens=PYTHON] [--json FILE]
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from pathlib import Path

from capture import machine
from step import Worker
from worlds import BATCH, DICTIONARIES, TREES

from monosemy.foundation.storage import write_json

VISIT = 4


def contestants(world: str, peer: str | None) -> dict[str, tuple[str, str, dict]]:
    """Name -> (python, module, order)."""
    width, latents, k = DICTIONARIES[world]
    shape = {"width": width, "latents": latents, "tokens": BATCH, "k": k}
    found = {
        "ours": (sys.executable, "worlds.ours", {"world": world}),
        "step": (sys.executable, "peers.ours", {"selection": "batchtopk", "shape": shape}),
    }
    if peer and world in TREES:
        found["saelens"] = (peer, "worlds.saelens", {"world": world})
    return found


def measure(world: str, peer: str | None, rounds: int, threads: int) -> dict:
    """The rows of one world: median milliseconds of each contestant, and ratios of medians."""
    workers, versions = {}, {}
    taken: dict[str, list[float]] = {}
    try:
        for name, (python, module, order) in contestants(world, peer).items():
            workers[name] = Worker(python, module, order, threads)
            versions |= workers[name].answer()["versions"]
            taken[name] = []
        for _ in range(rounds):
            for name, worker in workers.items():
                times = worker.ask("step", count=VISIT)["milliseconds"][1:]
                taken[name].append(statistics.median(times))
        active = {n: w.ask("active")["active"] for n, w in workers.items() if n != "step"}
    finally:
        for worker in workers.values():
            worker.close()
    return row(world, taken, active) | {"versions": versions}


def row(world: str, taken: dict[str, list[float]], active: dict[str, float]) -> dict:
    medians = {name: statistics.median(times) for name, times in taken.items()}
    found = {"world": world, "batch": BATCH, "dictionary": DICTIONARIES[world][:2]}
    for name, value in medians.items():
        found[f"{name}_ms"] = round(value, 3)
        if name not in ("ours", "step"):
            ratios = [
                theirs / ours for theirs, ours in zip(taken[name], taken["ours"], strict=True)
            ]
            found[f"{name}_over_ours"] = round(statistics.median(ratios), 1)
    ratios = [ours / step for ours, step in zip(taken["ours"], taken["step"], strict=True)]
    found["ours_over_step"] = round(statistics.median(ratios), 3)
    found["active"] = {name: round(value, 2) for name, value in active.items()}
    return found


def line(found: dict) -> str:
    cells = [f"{found['world']:<22}", f"{found['ours_ms']:>8.2f} ms a batch"]
    cells.append(f"{found['ours_over_step']:.2f} of a step ({found['step_ms']:.1f} ms)")
    if "saelens_ms" in found:
        cells.append(f"SAELens {found['saelens_over_ours']:.1f} times as long as ours")
    return "   ".join(cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", metavar="saelens=PYTHON", help="the Python that has SAELens")
    parser.add_argument("--world", nargs="+", choices=DICTIONARIES, default=list(DICTIONARIES))
    parser.add_argument("--rounds", type=int, default=9, help="rounds; the median one counts")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows here as well")
    options = parser.parse_args()
    name, _, python = (options.peer or "").partition("=")
    if options.peer and (name != "saelens" or not Path(python).is_file()):
        parser.error(f"{options.peer!r}: wanted saelens=PATH/bin/python")
    rows = []
    for world in options.world:
        rows.append(measure(world, python or None, options.rounds, options.threads))
        print(line(rows[-1]), flush=True)
    if options.json:
        about = machine() | {"threads": options.threads, "load": os.getloadavg()[0]}
        write_json(options.json, {"machine": about, "rounds": options.rounds, "rows": rows})


if __name__ == "__main__":
    main()
