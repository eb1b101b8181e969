"""Milliseconds to draw a batch of known truth, against the training step that eats it and SAELens.

Every contestant is a process of its own: our world, a BatchTopK step of the dictionary that is trained
on it (`peers/ours.py`), and, where there is an environment with it, SAELens' synthetic model of the
same configuration, with the dense tensors of its default (its sparse ones take minutes a batch at 16k).
They take turns with the same threads, so that all see the same load; the median over rounds counts.
Beside wall-clock time stands processor time, summed over threads, which says more on a busy machine.
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

# Batches of a visit; the first, which finds other people's numbers in the caches, is not timed.
VISIT = 5


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
    taken: dict[str, list[tuple[float, float]]] = {}
    try:
        for name, (python, module, order) in contestants(world, peer).items():
            workers[name] = Worker(python, module, order, threads)
            versions[name] = workers[name].answer()["versions"]
            taken[name] = []
        for _ in range(rounds):
            for name, worker in workers.items():
                began = processor_ms(worker.process.pid)
                times = worker.ask("step", count=VISIT)["milliseconds"]
                spent = (processor_ms(worker.process.pid) - began) / VISIT
                taken[name].append((statistics.median(times[1:]), spent))
        active = {n: w.ask("active")["active"] for n, w in workers.items() if n != "step"}
    finally:
        for worker in workers.values():
            worker.close()
    return row(world, taken, active) | {"versions": versions}


def processor_ms(process: int) -> float:
    """Processor time that all threads of a process have had."""
    threads = Path(f"/proc/{process}/task").glob("*/schedstat")
    return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e6


def row(world: str, taken: dict[str, list[tuple[float, float]]], active: dict[str, float]) -> dict:
    found = {"world": world, "batch": BATCH, "dictionary": DICTIONARIES[world][:2]}
    for column, clock in enumerate(("ms", "processor_ms")):
        of = {name: [times[column] for times in rounds] for name, rounds in taken.items()}
        for name, times in of.items():
            found[f"{name}_{clock}"] = round(statistics.median(times), 3)
        found[f"ours_over_step_{clock}"] = ratio(of["ours"], of["step"])
        if "saelens" in of:
            found[f"saelens_over_ours_{clock}"] = ratio(of["saelens"], of["ours"])
    return found | {"active": {name: round(value, 2) for name, value in active.items()}}


def ratio(one: list[float], other: list[float]) -> float:
    """The median over rounds."""
    return round(statistics.median(a / b for a, b in zip(one, other, strict=True)), 3)


def line(found: dict) -> str:
    text = f"{found['world']:<20}"
    for clock in ("ms", "processor_ms"):
        text += f"   {found[f'ours_{clock}']:.2f} {clock.replace('_', ' ')} a batch, "
        text += f"{found[f'ours_over_step_{clock}']:.2f} of a step ({found[f'step_{clock}']:.1f})"
        if f"saelens_{clock}" in found:
            text += f", SAELens {found[f'saelens_over_ours_{clock}']:.1f} times as long"
    return text


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
