"""Milliseconds and peak memory of one training step: ours and every peer that is installed.

A step is what happens to a ready batch of activations: encode, loss, backward, clip, update,
renormalise. Every contestant is a process of its own (`peers/`), under the Python that has its
library, and they take turns: a round is one visit to each, so that all see the same load. In every
round the machine is probed as well, and a step is compared with

    ideal = encoder product at the speed of torch's default float32 product
            + four passes over B * k rows of d float32 numbers at the speed of a copy

of the same round. `x_ideal` is the median over rounds of milliseconds / ideal.

    python benchmarks/step.py [--shape M S] [--peer saelens=PYTHON ...] [--json FILE] [--figure FILE]
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path
from types import ModuleType

from capture import machine
from peers import dictionary_learning, ours, overcomplete, saelens, sparsify
from peers.worker import Shape

from monosemy.foundation.storage import write_json

HERE = Path(__file__).parent
PEERS: dict[str, ModuleType] = {
    "saelens": saelens,
    "dictionary_learning": dictionary_learning,
    "sparsify": sparsify,
    "overcomplete": overcomplete,
}
# The module that tells whether a peer is installed beside us.
IMPORTED = {"saelens": "sae_lens"}
SHAPES = {
    "demo": Shape(512, 4096, 512, 16),
    "S": Shape(512, 4096, 4096, 32),
    "M": Shape(768, 16_384, 2048, 32),
    "L": Shape(768, 24_576, 2048, 32),
    "big": Shape(512, 131_072, 1024, 32),
    "huge": Shape(512, 1_048_576, 1024, 32),
}
SWEEP = [f"M,m={m}" for m in (4096, 8192, 32_768, 65_536)] + ["M"]
SWEEP += [f"M,k={k}" for k in (8, 16, 64, 128)]
FIELDS = {"d": "width", "m": "latents", "B": "tokens", "k": "k"}
# Steps of a visit. A short step is repeated, and the first of its visit, which finds other people's
# numbers in the caches, is left out; to a long one that makes no difference.
SHORT_FLOPS, SHORT_VISIT = 1e10, 6
# What a resting contestant holds, in MiB: its libraries, and parameters and two moments beside them.
LIBRARIES_MIB = 450
# Matrices of B x m numbers at the height of a step, beside the gradients: at least.
DENSE_MATRICES = {"ours": 0}


class Worker:
    """A process that answers orders (see `peers.worker`)."""

    def __init__(self, python: str, module: str, order: dict, threads: int):
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        variables = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
        environment = os.environ | dict.fromkeys(variables, str(threads))
        self.process = subprocess.Popen(
            [python, "-m", module, json.dumps(order | {"threads": threads})],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True,
            cwd=HERE, env=environment,
        )  # fmt: skip

    def answer(self) -> dict:
        """The next answer; a `RuntimeError` with its last words where the process ended."""
        line = self.process.stdout.readline()
        if line:
            return json.loads(line)
        self.process.wait()
        self.errors.seek(0)
        said = [text for text in self.errors.read().splitlines() if text.strip()]
        raise RuntimeError(said[-1] if said else f"ended with code {self.process.returncode}")

    def ask(self, verb: str, **details) -> dict:
        """Give an order and wait until it is done."""
        try:
            self.process.stdin.write(json.dumps({"do": verb, **details}) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # it ended; `answer` says why
        return self.answer()

    def close(self) -> None:
        """End the process by closing its pipe."""
        self.process.stdin.close()
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.errors.close()


# --- what is measured -----------------------------------------------------------------------------


def contestants(peers: dict[str, str], only: list[str]) -> dict[str, tuple[str, str, str, str]]:
    """Name -> (python, library's module, selection, dtype), ours first."""
    found = {}
    for library, python in {"ours": sys.executable, **peers}.items():
        for selection, dtype in (ours if library == "ours" else PEERS[library]).SELECTIONS.items():
            name = f"{library}.{selection}"
            if not only or name in only or library in only or selection in only:
                found[name] = (python, library, selection, dtype)
    return found


def parse_shape(text: str) -> Shape:
    """``M``, or a named shape with changes: ``M,m=4096,k=64``."""
    name, *changes = text.split(",")
    try:
        values = {FIELDS[key]: int(value) for key, value in (part.split("=") for part in changes)}
        return replace(SHAPES[name], **values)
    except (KeyError, ValueError):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no shape; wanted one of {', '.join(SHAPES)}, with changes such as "
            "M,m=4096,k=64 if wanted"
        ) from None


def needs_mib(library: str, shape: Shape) -> tuple[float, float]:
    """MiB that a contestant holds at rest, and more while it steps; the least it can be."""
    parameters = 4 * 2 * shape.latents * shape.width / 2**20
    dense = 4 * shape.tokens * shape.latents / 2**20
    return LIBRARIES_MIB + 3 * parameters, parameters + DENSE_MATRICES.get(library, 4) * dense


def groups(chosen: dict, shape: Shape, free_mib: float) -> tuple[list[list[str]], dict[str, str]]:
    """Contestants that fit into memory together, and those that do not fit even alone."""
    made: list[list[str]] = [[]]
    too_large, held, highest = {}, 0.0, 0.0
    for name, (_, library, _, _) in chosen.items():
        at_rest, more = needs_mib(library, shape)
        if at_rest + more > free_mib:
            too_large[name] = f"needs {at_rest + more:,.0f} MiB or more; {free_mib:,.0f} are free"
            continue
        if made[-1] and held + at_rest + max(highest, more) > free_mib:
            made.append([])
            held = highest = 0.0
        made[-1].append(name)
        held, highest = held + at_rest, max(highest, more)
    return [group for group in made if group], too_large


def free_mib(shape: Shape) -> float:
    """What the contestants may use: nine tenths of what is free, less the probe's own."""
    probe = 800 + 10 * shape.tokens * min(shape.latents, 131_072) / 2**20
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable"):
            return 0.9 * int(line.split()[1]) / 1024 - probe
    raise RuntimeError("/proc/meminfo names no available memory")


# --- measuring ------------------------------------------------------------------------------------


def measure(
    chosen: dict, label: str, shape: Shape, rounds: int, threads: int
) -> tuple[list[dict], list[dict], dict]:
    """Rows, the probes of each group of contestants, and who could not take part and why."""
    split, absent = groups(chosen, shape, free_mib(shape))
    rows, probes = [], []
    for place, group in enumerate(split):
        found, probe, missing = measure_group(chosen, group, shape, rounds, threads)
        common = {"shape": label, **asdict(shape)}
        rows += [row | common | {"group": place} for row in found]
        probes.append(common | {"group": place} | probe)
        absent |= missing
    return rows, probes, absent


def measure_group(
    chosen: dict, group: list[str], shape: Shape, rounds: int, threads: int
) -> tuple[list[dict], dict, dict]:
    order = {"shape": asdict(shape)}
    prober = Worker(sys.executable, "peers.probe", order, threads)
    workers, began, absent = {}, {}, {}
    try:
        prober.answer()
        for name in group:  # one after another: building takes both cores
            python, library, selection, _ = chosen[name]
            show(f"{name}: starting")
            worker = Worker(python, f"peers.{library}", order | {"selection": selection}, threads)
            workers[name] = worker
            try:
                began[name] = worker.answer()
            except RuntimeError as error:
                absent[name] = str(error)
        samples, probes = take_turns(workers, prober, began, absent, shape, rounds)
        ends = {name: workers[name].ask("end") for name in samples}
    finally:
        for worker in [prober, *workers.values()]:
            worker.close()
        show("")
    ideals = [ideal_ms(probe, shape) for probe in probes]
    rows = [
        row(name, chosen[name], samples[name], ideals, ends[name]) | {
            "unexplained_before": began[name]["unexplained"],
            "versions": began[name]["versions"],
        }
        for name in samples
    ]  # fmt: skip
    return rows, summary(probes, ideals, shape), absent


def take_turns(
    workers: dict, prober: Worker, began: dict, absent: dict, shape: Shape, rounds: int
) -> tuple[dict[str, list[list[float]]], list[dict]]:
    """Milliseconds of each contestant in each round, and the probes of each round."""
    short = 2 * shape.width * shape.latents * shape.tokens < SHORT_FLOPS
    visit = {"count": SHORT_VISIT, "dropped": 1} if short else {"count": 1}
    names = list(began)
    samples: dict[str, list[list[float]]] = {name: [] for name in names}
    probes = []
    for turn in range(rounds):
        probes.append(prober.ask("probe"))
        first = turn % max(len(names), 1)  # so that nobody always follows the same other
        for name in names[first:] + names[:first]:
            if name in absent:
                continue
            show(f"round {turn + 1} of {rounds}: {name}")
            time.sleep(0.02)  # threads of the one before spin for a moment
            try:
                samples[name].append(workers[name].ask("step", **visit)["milliseconds"])
            except RuntimeError as error:
                absent[name] = str(error)
    return {name: taken for name, taken in samples.items() if name not in absent}, probes


def ideal_ms(probe: dict, shape: Shape) -> float:
    passes = 4 * shape.tokens * shape.k * shape.width * 4
    return probe["product_ms"] + passes / 1e6 / probe["copy_gb_s"]


def row(name: str, who: tuple, taken: list[list[float]], ideals: list[float], end: dict) -> dict:
    medians = [statistics.median(visit) for visit in taken]
    ratios = [ms / ideal for ms, ideal in zip(medians, ideals, strict=True)]
    low, _, high = quartiles([ms for visit in taken for ms in visit])
    return {
        "name": name,
        "library": who[1],
        "selection": who[2],
        "dtype": who[3],
        "x_ideal": round(statistics.median(ratios), 3),
        "milliseconds": round(statistics.median(medians), 2),
        "quartiles": [round(low, 2), round(high, 2)],
        "peak_mib": end["peak_mib"],
        "active": end["active"],
        "unexplained_after": end["unexplained"],
        "steps": end["steps"],
    }


def summary(probes: list[dict], ideals: list[float], shape: Shape) -> dict:
    """What the machine did, over the rounds: medians, with quartiles of the product."""
    middle = {key: statistics.median(probe[key] for probe in probes) for key in probes[0]}
    work = 2 * shape.width * shape.latents * shape.tokens / 1e6
    spread = quartiles([probe["product_ms"] for probe in probes])
    return {
        "ideal_ms": round(statistics.median(ideals), 2),
        **{key: round(value, 2) for key, value in middle.items()},
        "product_quartiles": [round(spread[0], 2), round(spread[2], 2)],
        "product_gflop_s": round(work / middle["product_ms"], 1),
        "product_kept_gflop_s": round(work / middle["product_kept_ms"], 1),
        "bf16_product_gflop_s": round(work / middle["bf16_product_ms"], 1),
    }


def quartiles(values: list[float]) -> list[float]:
    if len(values) < 2:
        return values * 3
    return statistics.quantiles(values, n=4, method="inclusive")


# --- saying it ------------------------------------------------------------------------------------


def show(note: str) -> None:
    """A passing note on the terminal, where there is one."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{note}", end="", file=sys.stderr, flush=True)


def table(rows: list[dict], probes: list[dict], absent: dict[str, str]) -> str:
    head = f"{'contestant':<34}{'ms':>10}{'quartiles':>21}{'x ideal':>9}{'tokens/s':>11}"
    lines = [head + f"{'peak MiB':>10}{'active':>8}"]
    for probe in probes:
        key = (probe["shape"], probe["group"])
        lines.append(
            f"{probe['shape']}: d {probe['width']:,}  m {probe['latents']:,}  "
            f"B {probe['tokens']:,}  k {probe['k']:,}; ideal {probe['ideal_ms']:,.1f} ms; products "
            f"{probe['product_gflop_s']:,.0f} GFLOP/s, kept {probe['product_kept_gflop_s']:,.0f}, "
            f"bf16 {probe['bf16_product_gflop_s']:,.0f}; copy {probe['copy_gb_s']:.1f} GB/s"
        )
        here = [row for row in rows if (row["shape"], row["group"]) == key]
        lines += [table_line(row) for row in sorted(here, key=lambda row: row["milliseconds"])]
    return "\n".join(lines + [f"not measured: {name}: {why}" for name, why in absent.items()])


def table_line(row: dict) -> str:
    name = row["name"] + ("" if row["dtype"] == "float32" else f" ({row['dtype'].split()[0]})")
    spread = f"{row['quartiles'][0]:,.1f} - {row['quartiles'][1]:,.1f}"
    rate = 1e3 * row["tokens"] / row["milliseconds"]
    cells = f"{row['milliseconds']:>10,.1f}{spread:>21}{row['x_ideal']:>9.2f}{rate:>11,.0f}"
    return f"  {name:<32}" + cells + f"{row['peak_mib']:>10,}{row['active']:>8g}"


# --- the command line -----------------------------------------------------------------------------


def find_peers(parser: argparse.ArgumentParser, given: list[str]) -> dict[str, str]:
    """Peers from the command line, from MONOSEMY_PEERS, and from our own environment."""
    found = {
        name: sys.executable
        for name in PEERS
        if importlib.util.find_spec(IMPORTED.get(name, name)) is not None
    }
    named = [part for part in os.environ.get("MONOSEMY_PEERS", "").split(",") if part] + given
    for text in named:
        name, _, python = text.partition("=")
        if name not in PEERS:
            parser.error(f"unknown peer {name!r}; known: {', '.join(PEERS)}")
        if not Path(python).is_file():
            parser.error(f"{text!r}: no Python there; wanted NAME=PATH/bin/python")
        found[name] = python
    return found


def arguments() -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--shape", nargs="+", default=["M"], metavar="SHAPE",
        help=f"{', '.join(SHAPES)}; changed if wanted: M,m=4096,k=64 (default M)")  # fmt: skip
    add("--sweep", action="store_true", help="M at five sizes m and five k, for the figure")
    add("--peer", action="append", default=[], metavar="NAME=PYTHON",
        help=f"{', '.join(PEERS)}, and the Python that has it; also from MONOSEMY_PEERS")  # fmt: skip
    add("--only", nargs="+", default=[], metavar="NAME",
        help="contestants (ours.topk), libraries (saelens) or selections (topk)")  # fmt: skip
    add("--rounds", type=int, default=7, help="rounds that count (default 7)")
    add("--quick", action="store_true", help="two rounds: does it run")
    add("--threads", type=int, default=len(os.sched_getaffinity(0)), help="threads of each")
    add("--json", type=Path, metavar="FILE", help="write the rows here as well")
    add("--figure", type=Path, metavar="FILE", help="draw them here (.svg or .png)")
    return parser, parser.parse_args()


def main() -> None:
    parser, options = arguments()
    labels = SWEEP if options.sweep else options.shape
    try:
        shapes = {label: parse_shape(label) for label in labels}
    except argparse.ArgumentTypeError as error:
        parser.error(str(error))
    chosen = contestants(find_peers(parser, options.peer), options.only)
    if not chosen:
        parser.error(f"--only {' '.join(options.only)} leaves nobody")
    report = {
        "machine": machine() | {"threads": options.threads},
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "rounds": 2 if options.quick else max(options.rounds, 1),
        "rows": [], "probes": [], "absent": {},
    }  # fmt: skip
    for label, shape in shapes.items():
        rows, probes, absent = measure(chosen, label, shape, report["rounds"], options.threads)
        report["rows"] += rows
        report["probes"] += probes
        report["absent"] |= {f"{label}: {name}": why for name, why in absent.items()}
        print(table(rows, probes, absent), flush=True)
        if options.json:  # after every shape: a long run may be stopped
            write_json(options.json, report)
    if options.figure:
        from step_figure import draw

        draw(report, options.figure)


if __name__ == "__main__":
    main()
