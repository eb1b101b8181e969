"""What a sweep found: a table, and sparsity against quality as a figure.

The figure stands alone (SVG and PNG), in colours that read on light and on dark ground.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from monosemy.reports import measures
from monosemy.reports.figures import style
from monosemy.reports.measures import Report

if TYPE_CHECKING:  # matplotlib takes a second to import, so it is imported when a figure is drawn
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SPARSITY = ("k", "objective.l1", "objective.l0", "objective.target_l0")
"""Keys along which a curve runs: what trades sparsity for quality."""
_PANELS = ("explained_variance", "ce_recovered_zero")
_COLUMNS = {
    "l0": "L0",
    "explained_variance": "explained variance",
    "ce_recovered_zero": "CE recovered",
    "dead_fraction": "dead",
}
_WIDE = 120
_INK, _MUTED, _GRID = "#6b7280", "#8b929c", "#9ca3af55"
# Told apart by people who see few colours too, and by their marks: 42 pairs before one returns.
_COLOURS = ("#4f6bd8", "#e08a1e", "#2f9e77", "#c2528b", "#8a6fd1", "#5f8fa3")
_MARKS = "osD^v<X"
# Kinds of which every dictionary can still be seen.
_FEW = 10
# Inches: of the figure, of a line of the legend, of its key, and of a character for each point of
# the font.
_FIGURE, _ROW, _KEY, _CHARACTER = (9.6, 3.9), 0.2, 0.6, 0.0072

Entry = Mapping[str, Any]


def table(report: Report, width: int = 120) -> Table:
    """A row a dictionary: L0, quality and dead latents, with intervals; what varies is its name.

    Parameters
    ----------
    report : as ``sweep.json`` holds it.
    width : columns of the terminal; where they are few, intervals stand on a line of their own.
    """
    named = [key for key in report["varied"] if not _in_names(report, key)]
    shown = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold")
    shown.add_column("dictionary", overflow="fold")
    for title in (*named, *_COLUMNS.values()):
        shown.add_column(title, justify="right", no_wrap=True)
    form = " [{}, {}]" if width >= _WIDE else "\n{}–{}"
    for entry in report["dictionaries"]:
        values = [_said(entry["changes"][key]) for key in named]
        shown.add_row(entry["name"], *values, *(_cell(entry, name, form) for name in _COLUMNS))
    return shown


def _in_names(report: Report, key: str) -> bool:
    last = key.rpartition(".")[2]
    return all(f"{last}=" in entry["name"] for entry in report["dictionaries"])


def _cell(entry: Entry, name: str, form: str) -> Text:
    found, measure = number(entry, name), measures.measure(name)
    if found is None:
        return Text("–", style="dim")
    text = Text(measures.written(measure, found["value"]))
    return text.append(measures.interval(measure, found, form), style="dim")


def number(entry: Entry, name: str) -> Mapping[str, Any] | None:
    """``{"value", "low", "high"}`` of one dictionary, or nothing where it was not measured."""
    found = (entry.get("metrics") or {}).get(name)
    return found if found and found.get("value") is not None else None


def kinds(report: Report) -> dict[str, list[Entry]]:
    """Dictionaries that differ in sparsity and seed only, by what they have in common.

    Each list is in order of L0, those without one left out. Where variants were given names, these
    say what it is.
    """
    keys = [key for key in report["varied"] if key not in (*SPARSITY, "seed")]
    found: dict[str, list[Entry]] = {}
    for entry in report["dictionaries"]:
        if number(entry, "l0") is None:
            continue
        shared = [f"{key} = {_said(entry['changes'][key])}" for key in keys]
        kind = ", ".join(shared) or str(entry["dictionary"]["architecture"])
        found.setdefault(kind, []).append(entry)
    given = {kind: _given(entries) for kind, entries in found.items()}
    if not all(given.values()) or len(set(given.values())) < len(given):
        given = {kind: kind for kind in found}
    return {given[kind]: sorted(entries, key=_l0) for kind, entries in found.items()}


def _given(entries: Sequence[Entry]) -> str:
    """The name that a person gave to what these have in common, if they did."""
    (parts, *others) = {_parts(entry["name"]) for entry in entries}
    named = not others and any("=" not in part for part in parts)
    return ", ".join(part.replace("=", " = ") for part in parts) if named else ""


def _parts(name: str) -> tuple[str, ...]:
    """Of a dictionary's name, without sparsity and seed."""
    along = {end for key in (*SPARSITY, "seed") for end in (key, key.rpartition(".")[2])}
    return tuple(part for part in name.split(",") if part.partition("=")[0] not in along)


def curve(entries: Sequence[Entry], name: str) -> list[tuple[float, float]]:
    """``(L0, value)`` at every sparsity, each the mean over seeds."""
    return sorted(map(_mean, _over_seeds(entries, name)))


def _over_seeds(entries: Sequence[Entry], name: str) -> list[list[tuple[float, float]]]:
    """``(L0, value)`` of every seed, for every sparsity."""
    groups: dict[str, list[tuple[float, float]]] = {}
    for entry in entries:
        found = number(entry, name)
        if found is not None:
            along = json.dumps([entry["changes"].get(key) for key in SPARSITY])
            groups.setdefault(along, []).append((_l0(entry), found["value"]))
    return list(groups.values())


def _mean(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    l0s, values = zip(*points, strict=True)
    return sum(l0s) / len(points), sum(values) / len(points)


def _l0(entry: Entry) -> float:
    found = number(entry, "l0")
    return found["value"] if found else 0.0


def _said(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "+".join(map(_said, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


# --- drawing -------------------------------------------------------------------------------------


def svg(report: Report) -> str:
    """L0 against explained variance and loss recovered, as SVG without ground."""
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    return _draw(report, format="svg", facecolor="none", metadata=nothing).decode()


def png(report: Report) -> bytes:
    """The same, on white."""
    return _draw(report, format="png", facecolor="white", dpi=160, metadata={"Software": None})


def _draw(report: Report, **how: Any) -> bytes:
    import matplotlib
    from matplotlib.figure import Figure

    file = io.BytesIO()
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # a matplotlibrc of the user's would change the picture
        matplotlib.rcParams.update(style(_INK, _MUTED, _GRID) | {"svg.hashsalt": "pareto"})
        figure = Figure(figsize=_FIGURE, layout="constrained")
        _panels(figure, kinds(report))
        figure.savefig(file, **how)
    return file.getvalue()


def _panels(figure: Figure, found: Mapping[str, Sequence[Entry]]) -> None:
    from matplotlib.ticker import LogLocator

    draw = _dictionaries if len(found) <= _FEW else _spread
    panels = figure.subplots(1, len(_PANELS))
    for axes, name in zip(panels, _PANELS, strict=True):
        axes.set_title(measures.measure(name).label)
        axes.set_xlabel("active latents a token (L0)")
        axes.set_xscale("log")
        for place, entries in enumerate(found.values()):
            draw(axes, entries, name, **_look(place))
            _line(axes, entries, name, _look(place)["color"])
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter("")
        axes.margins(0.08)
        if not axes.lines:
            axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", color=_MUTED)
    if found:
        _legend(figure, list(found))


def _look(place: int) -> dict[str, Any]:
    """Colours and marks run at different periods, so that few pairs are alike."""
    return {"color": _COLOURS[place % len(_COLOURS)], "marker": _MARKS[place % len(_MARKS)]}


def _dictionaries(axes: Axes, entries: Sequence[Entry], name: str, color: str, marker: str) -> None:
    """Every dictionary with its interval."""
    for entry in entries:
        value = number(entry, name)
        if value is None:
            continue
        ends = [value[end] for end in ("low", "high") if value.get(end) is not None]
        axes.plot([_l0(entry)] * len(ends), ends, color=color, lw=1.2, alpha=0.6)
        axes.plot(_l0(entry), value["value"], marker, color=color, ms=4.5, alpha=0.75)


def _spread(axes: Axes, entries: Sequence[Entry], name: str, color: str, marker: str) -> None:
    """The mean over seeds, from the lowest to the highest of them."""
    for points in _over_seeds(entries, name):
        l0, mean = _mean(points)
        values = [value for _, value in points]
        axes.plot([l0, l0], [min(values), max(values)], color=color, lw=1.2, alpha=0.6)
        axes.plot(l0, mean, marker, color=color, ms=4.5, alpha=0.9)


def _line(axes: Axes, entries: Sequence[Entry], name: str, color: str) -> None:
    """Through the means over seeds."""
    points = curve(entries, name)
    if points:
        axes.plot(*zip(*points, strict=True), color=color, lw=1.4)


def _legend(figure: Figure, labels: Sequence[str]) -> None:
    """Above where they are few; below, in a figure that grows with them, where they are many."""
    from matplotlib.lines import Line2D

    few, (width, height) = len(labels) <= _FEW, _FIGURE
    size = 9 if few else 8
    fit = max(1, int(width / (_KEY + _CHARACTER * size * max(map(len, labels)))))
    columns = min(fit, 3) if few else fit
    rows = -(-len(labels) // columns)
    figure.set_size_inches(width, height + _ROW * rows * (rows > 2))
    drawn = [Line2D([], [], lw=1.4, ms=4.5, **_look(place)) for place in range(len(labels))]
    title = None if few else "means over seeds, from the lowest to the highest of them"
    figure.legend(
        drawn, labels, loc="outside upper left" if few else "outside lower left", ncols=columns,
        frameon=False, fontsize=size, title=title, title_fontsize=size, alignment="left",
    )  # fmt: skip
