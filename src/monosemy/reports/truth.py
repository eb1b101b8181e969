"""What a comparison on a known world found: a table, and F1 and MCC of every kind as a figure."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from monosemy.reports.figures import style

if TYPE_CHECKING:  # matplotlib takes a second to import, so it is imported when a figure is drawn
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Report = Mapping[str, Any]
_COLUMNS = {
    "f1": "F1",
    "mcc": "MCC",
    "parent_f1": "parent F1",
    "child_f1": "child F1",
    "silent_parent_rate": "silent parent",
    "fvu": "FVU",
    "l0": "L0",
}
_PANELS = {"f1": "F1", "mcc": "MCC", "child_f1": "child F1"}
_WIDE = 130
_INK, _MUTED, _GRID = "#6b7280", "#8b929c", "#9ca3af55"
_LEARNED, _ARM = "#4f6bd8", "#8b929c"
_ARMS = ("oracle", "probe", "pca", "random")


def table(report: Report, width: int = 120) -> Table:
    """A row a kind: means over seeds, with their intervals where the terminal is wide enough."""
    shown = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold")
    shown.add_column("dictionary", overflow="fold")
    names = [name for name in _COLUMNS if _measured(report, name)]
    for name in names:
        shown.add_column(_COLUMNS[name], justify="right")
    shown.add_column("numbers", justify="right", no_wrap=True)
    for kind in report["kinds"]:
        found = report["summary"][kind]
        cells = [_cell(found[name], width >= _WIDE) for name in names]
        size = found["parameters"]["value"]
        shown.add_row(kind, *cells, Text(f"{size:,.0f}"), style="dim" if kind in _ARMS else None)
    return shown


def cell_lines(cell: Report) -> list[str]:
    """One cell for a terminal: every number with its interval over samples."""
    lines = [
        f"{cell['dictionary']} on {cell['world']}, seed {cell['seed']}: {cell['latents']:,} latents, "
        f"{cell['parameters']:,} numbers"
    ]
    for name, found in cell["metrics"].items():
        if found["value"] is None:
            lines.append(f"  {name:<20} –  ({found['note']})")
            continue
        ends = f"  [{found['low']:.4f}, {found['high']:.4f}]" if found["low"] is not None else ""
        lines.append(f"  {name:<20} {found['value']:.4f}{ends}")
    return lines


def _measured(report: Report, name: str) -> bool:
    return any(report["summary"][kind][name]["value"] is not None for kind in report["kinds"])


def _cell(found: Mapping[str, Any], wide: bool) -> Text:
    if found["value"] is None:
        return Text("–")
    text = Text(f"{found['value']:.3f}", no_wrap=True)
    if wide and found["low"] is not None:
        text.append(f" ±{found['high'] - found['value']:.3f}", style="dim")
    return text


# --- drawing -------------------------------------------------------------------------------------


def svg(report: Report) -> str:
    """Dots with intervals over seeds, a panel a metric, as SVG without ground."""
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
        matplotlib.rcParams.update(style(_INK, _MUTED, _GRID) | {"svg.hashsalt": "truth"})
        figure = Figure(figsize=(9.6, 1.0 + 0.3 * len(report["kinds"])), layout="constrained")
        _panels(figure, report)
        figure.savefig(file, **how)
    return file.getvalue()


def _panels(figure: Figure, report: Report) -> None:
    names = [name for name in _PANELS if _measured(report, name)]
    seeds, kinds = len(report["seeds"]), report["kinds"]
    panels = figure.subplots(1, max(len(names), 1), sharey=True, squeeze=False)[0]
    for axes, name in zip(panels, names, strict=False):
        axes.set_title(_PANELS[name])
        _dots(axes, report, name)
        axes.set_xlim(-0.03, 1.06)
        axes.grid(visible=False, axis="y")
        axes.tick_params(length=0)
    panels[0].set_yticks(range(len(kinds)), kinds)
    panels[0].set_ylim(len(kinds) - 0.5, -0.75)
    said = f"{seeds} seeds, 95 % intervals (Student's t)" if seeds > 1 else "one seed"
    figure.supxlabel(f"{report['world']}: {said}", fontsize=9, color=_MUTED)


def _dots(axes: Axes, report: Report, name: str) -> None:
    for place, kind in enumerate(report["kinds"]):
        found, colour = report["summary"][kind][name], _ARM if kind in _ARMS else _LEARNED
        if found["value"] is None:
            continue
        if found["low"] is not None:
            ends: Sequence[float] = (found["low"], found["high"])
            axes.plot(ends, [place, place], color=colour, lw=2.2, solid_capstyle="round")
        axes.plot([found["value"]], [place], "o", color=colour, ms=5.5)
        axes.annotate(
            f"{found['value']:.3f}", (found["value"], place), xytext=(0, 4.5),
            textcoords="offset points", ha="center", color=_INK, fontsize=7.5,
        )  # fmt: skip
