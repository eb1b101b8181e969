"""The figure of `step.py`: cost against m and k where they vary, bars where they do not.

python benchmarks/step_figure.py REPORT.json FIGURE.svg
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")  # a figure for a file, on machines without a display

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

INK, MUTED, GRID = "#333740", "#7d848f", "#e3e6ea"
COLOURS = {
    "ours": "#3f5fd6",
    "sparsify": "#d9822b",
    "overcomplete": "#8c6bb1",
    "dictionary_learning": "#2f9e78",
    "saelens": "#c4424f",
}
# One for each selection, TopK first.
STYLES = [("-", "o"), ((0, (5, 2)), "s"), ((0, (1.2, 1.6)), "^"), ((0, (6, 2, 1, 2)), "D")]
SWEPT = {"latents": ("width", "tokens", "k"), "k": ("width", "tokens", "latents")}
AXIS = {"latents": "latents (m)", "k": "active latents a token (k)"}


def draw(report: dict, path: Path) -> None:
    """Draw the rows of `report` into `path` (.svg, .png or .pdf)."""
    options = {
        "font.family": ["DejaVu Sans"], "font.size": 9.5, "svg.fonttype": "none",
        "text.color": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK,
        "axes.edgecolor": MUTED, "axes.spines.top": False, "axes.spines.right": False,
        "axes.titlesize": 10.5, "axes.titleweight": "bold", "axes.titlelocation": "left",
        "svg.hashsalt": "step",
    }  # fmt: skip
    sweeps = {key: found for key in SWEPT if (found := sweep(report["rows"], key))}
    with mpl.rc_context(options):
        figure = lines(report, sweeps) if sweeps else bars(report)
        metadata = {"Date": None} if Path(path).suffix == ".svg" else {}
        figure.savefig(path, dpi=160, facecolor="white", metadata=metadata)


def sweep(rows: list[dict], key: str) -> list[dict]:
    """The rows that differ in `key` alone: the largest such set, or none."""
    sets: dict[tuple, list[dict]] = {}
    for row in rows:
        sets.setdefault(tuple(row[name] for name in SWEPT[key]), []).append(row)
    best = max(sets.values(), key=lambda found: len({row[key] for row in found}), default=[])
    return best if len({row[key] for row in best}) > 2 else []


# --- lines ----------------------------------------------------------------------------------------


def lines(report: dict, sweeps: dict[str, list[dict]]) -> Figure:
    figure = Figure(figsize=(4.1 * len(sweeps) + 2.4, 4.3), layout="constrained")
    panels = figure.subplots(1, len(sweeps), sharey=True, squeeze=False)[0]
    names = order(report["rows"])
    styles = line_styles(names)
    for axes, (key, rows) in zip(panels, sweeps.items(), strict=True):
        for name in names:
            points = sorted((row[key], row["milliseconds"]) for row in rows if row["name"] == name)
            if points:
                axes.plot(*zip(*points, strict=True), label=label(name), **styles[name])
        ideal(axes, report, key, rows)
        dress(axes, key, rows)
    panels[0].set_ylabel("milliseconds a step")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False, handlelength=2.6)
    return figure


def order(rows: list[dict]) -> list[str]:
    """Contestants from the dearest to the cheapest, as the lines lie above one another."""
    cost: dict[str, list[float]] = {}
    for row in rows:
        cost.setdefault(row["name"], []).append(row["x_ideal"])
    return sorted(cost, key=lambda name: -sum(cost[name]) / len(cost[name]))


def line_styles(names: list[str]) -> dict[str, dict]:
    selections = sorted({name.partition(".")[2] for name in names}, key=lambda s: (s != "topk", s))
    styles = {}
    for name in names:
        library, _, selection = name.partition(".")
        line, marker = STYLES[selections.index(selection) % len(STYLES)]
        styles[name] = {
            "color": COLOURS[library], "linestyle": line, "marker": marker, "markersize": 4.5,
            "linewidth": 2.2 if library == "ours" else 1.4, "zorder": 4 if library == "ours" else 3,
        }  # fmt: skip
    return styles


def ideal(axes: Axes, report: dict, key: str, rows: list[dict]) -> None:
    shapes = {row["shape"] for row in rows}
    points: dict[int, list[float]] = {}
    for probe in report["probes"]:
        if probe["shape"] in shapes:
            points.setdefault(probe[key], []).append(probe["ideal_ms"])
    places = sorted(points)
    values = [sum(points[place]) / len(points[place]) for place in places]
    axes.plot(places, values, color=INK, lw=1.2, ls=(0, (2, 2)), label="ideal", zorder=2)


def dress(axes: Axes, key: str, rows: list[dict]) -> None:
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(FixedLocator(sorted({row[key] for row in rows})))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda value, place: f"{value:,.0f}")
    axes.yaxis.set_major_formatter(lambda value, place: f"{value:,g}")
    axes.grid(color=GRID, lw=0.8, which="major")
    axes.set_axisbelow(True)
    axes.tick_params(length=0, which="both")
    axes.set_xlabel(AXIS[key])
    one = rows[0]
    rest = f"k = {one['k']}" if key == "latents" else f"m = {one['latents']:,}"
    axes.set_title(f"d = {one['width']}, B = {one['tokens']:,}, {rest}")


# --- bars -----------------------------------------------------------------------------------------


def bars(report: dict) -> Figure:
    shapes = list(dict.fromkeys(row["shape"] for row in report["rows"]))
    counts = [sum(row["shape"] == shape for row in report["rows"]) for shape in shapes]
    size = (9.6, 0.5 + sum(0.9 + 0.27 * count for count in counts))
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(
        len(shapes), 2, squeeze=False, sharey="row",
        gridspec_kw={"width_ratios": (1.7, 1), "height_ratios": [3 + count for count in counts]},
    )  # fmt: skip
    for (left, right), shape in zip(grid, shapes, strict=True):
        rows = [row for row in report["rows"] if row["shape"] == shape]
        rows.sort(key=lambda row: row["x_ideal"])
        one = rows[0]
        sizes = f"d = {one['width']}, m = {one['latents']:,}, B = {one['tokens']:,}, k = {one['k']}"
        notes = [f"{row['x_ideal']:.2f} ×   {row['milliseconds']:,.0f} ms" for row in rows]
        bar(
            left,
            rows,
            "x_ideal",
            notes,
            f"{shape}: a step, in multiples of the ideal (dotted)\n{sizes}",
        )
        left.axvline(1, color=INK, lw=1.1, ls=(0, (2, 2)))
        notes = [f"{row['peak_mib']:,}" for row in rows]
        bar(right, rows, "peak_mib", notes, "peak memory, MiB\n")
    return figure


def bar(axes: Axes, rows: list[dict], key: str, notes: list[str], title: str) -> None:
    places = range(len(rows))
    values = [row[key] for row in rows]
    colours = [COLOURS[row["library"]] for row in rows]
    axes.barh(places, values, color=colours, height=0.68)
    for place, value, note in zip(places, values, notes, strict=True):
        axes.annotate(
            note, (value, place), xytext=(4, 0), textcoords="offset points", va="center",
            fontsize=8.5, color=INK,
        )  # fmt: skip
    axes.set_yticks(places, [label(row["name"]) for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(0, 1.28 * max(values))
    axes.tick_params(length=0)
    axes.spines["bottom"].set_visible(False)
    axes.set_xticks([])
    axes.set_title(title)


def label(name: str) -> str:
    library, _, selection = name.partition(".")
    shown = {"ours": "monosemy", "saelens": "SAELens"}.get(library, library)
    words = selection.replace(".dead", ", 10 % dead").replace(".bf16", ", bf16")
    return f"{shown}  {words}"


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), Path(sys.argv[2]))
