"""Reading a model and shuffling what was read: tokens a second and microseconds a token.

Ours, a peer's where its Python is named, and the floor: the time of nothing but the weights'
products of the blocks that have to run, at the same number of tokens and in float32. The model has
GPT-2 small's shape and random weights, the site is the residual stream that enters its seventh
block, a call reads 2,048 tokens. Every contestant is a process of its own and they take turns, so
that all see the same load; ratios are medians over rounds. Where other work disturbs the clock, the
processor time (`cpu_...`) is the steadier number.

    python benchmarks/stream.py [--peer saelens=PYTHON] [--rounds 5] [--json FILE]
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import sys
from pathlib import Path

from capture import machine
from step import Worker

from monosemy.foundation.storage import write_json

CONTEXTS = (128, 1024)
DTYPES = ("float32", "bfloat16")
SIZES = (32_768, 131_072, 262_144)
BATCHES = (2048, 4096)


def read_rows(workers: dict[str, Worker], rounds: int) -> list[dict]:
    """Tokens a second of everybody at each context and precision, beside the floor in float32."""
    rows = []
    for context, dtype in itertools.product(CONTEXTS, DTYPES):
        order = {"context": context, "calls": 1}
        kinds = {name: "float32" if name == "floor" else dtype for name in workers}
        taken: dict[str, list[dict]] = {name: [] for name in workers}
        for turn in range(rounds + 1):
            for name, worker in workers.items():
                visit = worker.ask("read", **order, dtype=kinds[name])
                if turn:  # the first turn builds and warms up
                    taken[name].append(visit)
        rows += [
            read_row((name, kinds[name]), context, taken[name], taken["floor"])
            for name in workers
            if name != "floor" or dtype == "float32"
        ]
    return rows


def read_row(turn: tuple[str, str], context: int, taken: list[dict], floor: list[dict]) -> dict:
    return {
        "name": turn[0],
        "shape": f"GPT-2 small, context {context}",
        "dtype": turn[1],
        "tokens_per_second": round(1 / middle(taken, "wall")),
        "cpu_microseconds": round(1e6 * middle(taken, "cpu"), 1),
        "x_floor": ratio(taken, floor, "wall"),
        "cpu_x_floor": ratio(taken, floor, "cpu"),
        "peak_mib": taken[-1]["peak_mib"],
    }


def deal_rows(workers: dict[str, Worker], rounds: int) -> list[dict]:
    """Microseconds a token of every buffer at each size."""
    rows = []
    for size in SIZES:
        for batch in BATCHES:
            for name in [name for name in workers if name != "floor"]:
                # A whole turn: ours fills all of a block and deals it, the peer half of its buffer.
                visit = size if name == "ours" else size // 2
                order = {"size": size, "batch": batch, "dtype": "float32", "tokens": visit}
                taken = [workers[name].ask("deal", **order) for _ in range(rounds)]
                rows.append(
                    {
                        "name": name,
                        "shape": f"buffer of {size:,} rows, batch {batch:,}",
                        "dtype": "float32",
                        "microseconds": round(1e6 * middle(taken, "wall"), 2),
                        "cpu_microseconds": round(1e6 * middle(taken, "cpu"), 2),
                        "peak_mib": taken[-1]["peak_mib"],
                    }
                )
    return rows


def against(rows: list[dict], peer: str = "saelens") -> None:
    """Adds `ratio`: how many times as fast as the peer in float32, by clock and by processor."""
    for row in rows:
        theirs = [
            r
            for r in rows
            if (r["name"], r["shape"], r["dtype"]) == (peer, row["shape"], "float32")
        ]
        if theirs and row["name"] == "ours":
            speed = "tokens_per_second" in row
            wall = (row["tokens_per_second"] / theirs[0]["tokens_per_second"] if speed
                    else theirs[0]["microseconds"] / row["microseconds"])  # fmt: skip
            row["ratio"] = round(wall, 2)
            row["cpu_ratio"] = round(theirs[0]["cpu_microseconds"] / row["cpu_microseconds"], 2)


def middle(taken: list[dict], key: str) -> float:
    return statistics.median(visit[key] for visit in taken)


def ratio(taken: list[dict], floor: list[dict], key: str) -> float:
    return round(statistics.median(a[key] / b[key] for a, b in zip(taken, floor, strict=True)), 3)


def line(row: dict) -> str:
    cells = [f"{row['name']:<9}{row['shape']:<36}{row['dtype']:<9}"]
    if "tokens_per_second" in row:
        cells.append(
            f"{row['tokens_per_second']:>9,} tokens/s  x floor {row['x_floor']:.2f} "
            f"({row['cpu_x_floor']:.2f})"
        )
    else:
        cells.append(f"{row['microseconds']:>9.2f} ({row['cpu_microseconds']:.2f}) us/token")
    if "ratio" in row:
        cells.append(f"  {row['ratio']:.2f} ({row['cpu_ratio']:.2f}) times the peer")
    return "".join(cells) + f"  {row['peak_mib']:,} MiB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", metavar="saelens=PYTHON", help="the Python that has SAELens")
    parser.add_argument("--rounds", type=int, default=5, help="rounds; the median one counts")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--only", choices=("read", "deal"), help="one of the two parts")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows here as well")
    options = parser.parse_args()
    pythons = {"floor": sys.executable, "ours": sys.executable}
    if options.peer:
        name, _, python = options.peer.partition("=")
        if name != "saelens" or not Path(python).is_file():
            parser.error(f"{options.peer!r}: wanted saelens=PATH/bin/python")
        pythons[name] = python
    workers = {}
    rows = []
    try:
        for name, python in pythons.items():
            workers[name] = Worker(python, f"readers.{name}", {}, options.threads)
            workers[name].answer()
        if options.only != "deal":
            rows += read_rows(workers, options.rounds)
        if options.only != "read":
            rows += deal_rows(workers, options.rounds)
    finally:
        for worker in workers.values():
            worker.close()
    against(rows)
    print("wall clock, and in brackets processor time")
    print("\n".join(line(row) for row in rows), flush=True)
    if options.json:
        about = machine() | {"threads": options.threads}
        write_json(options.json, {"machine": about, "rounds": options.rounds, "rows": rows})


if __name__ == "__main__":
    main()
