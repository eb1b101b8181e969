"""The sharing curve in the terminal and as a figure: the data, its two nulls, the knee."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from monosemy.reports.figures import style

if TYPE_CHECKING:  # matplotlib takes a second to import, so it is imported when a figure is drawn
    from matplotlib.axes import Axes

Report = Mapping[str, Any]
_INK, _MUTED, _GRID = "#6b7280", "#8b929c", "#9ca3af55"
_OWN, _ROTATED, _RANDOM = "#4f6bd8", "#8b929c", "#e08a1e"


def sharing_report(report: Report) -> RenderableType:
    """What ``monosemy sharing`` prints of its JSON."""
    dropped = sum(report["dropped"].values())
    head = (
        f"{report['dictionary']['architecture']} on {report['place']}: {report['parents']} of "
        f"{report['dictionary_parents']:,} parents ({dropped:,} left out), charts of rank "
        f"{report['rank']}, {report['tokens']:,} held-out activations"
    )
    return Group(Text(head, style="bold"), "", _numbers(report), "", Text(_said(report)))


def _numbers(report: Report) -> Table:
    rotated, other = report["nulls"]["rotated"], report["nulls"]["random_model"]
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("", no_wrap=True)
    for name in ("data", "turned", "random model"):
        table.add_column(name, justify="right", no_wrap=True)
    has = "curve" in other
    size, others = report["parents"], other.get("parents", 1)
    table.add_row("parents", f"{size}", f"{size}", f"{others}" if has else "–")
    table.add_row("charts for 90 % (S90)", _of(report["s90"]), _of(rotated["s90"]),
                  _of(other["s90"]) if has else "–")  # fmt: skip
    table.add_row(
        "  as a share of parents", f"{report['s90']['value'] / size:.1%}",
        f"{rotated['s90']['value'] / size:.1%}",
        f"{other['s90']['value'] / others:.1%}" if has else "–",
    )  # fmt: skip
    table.add_row("knee", _of(report["knee"]), "", _of(other["knee"]) if has else "–")
    table.add_row("height of the bend", f"{report['height']:.2f}",
                  f"{rotated['height']['value']:.2f}",
                  f"{other['height']:.2f}" if has else "–")  # fmt: skip
    table.add_row("energy in own charts", f"{report['captured'][-1]:.1%}",
                  f"{report['captured'][-1]:.1%}",
                  f"{other['captured'][-1]:.1%}" if has else "–")  # fmt: skip
    return table


def _said(report: Report) -> str:
    note = report["knee"].get("note")
    words = report["verdict"]["words"]
    lines = [words[0].upper() + words[1:] + "."]
    return "\n".join(lines + ([note[0].upper() + note[1:] + "."] if note else []))


def _of(found: Mapping[str, Any]) -> str:
    if found["value"] is None:
        return "none"
    if found.get("low") is None:
        return f"{found['value']:g}"
    return f"{found['value']:g} [{found['low']:g}, {found['high']:g}]"


# --- drawing -------------------------------------------------------------------------------------


def svg(report: Report) -> str:
    """Captured energy against charts, both as shares, as SVG without ground."""
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
        matplotlib.rcParams.update(style(_INK, _MUTED, _GRID) | {"svg.hashsalt": "sharing"})
        figure = Figure(figsize=(7.6, 3.4), layout="constrained")
        _panel(figure.subplots(), report)
        figure.savefig(file, **how)
    return file.getvalue()


def _panel(axes: Axes, report: Report) -> None:
    other = report["nulls"]["random_model"]
    if report["curve"] is None:
        axes.text(0.5, 0.5, "nothing is captured", transform=axes.transAxes, ha="center",
                  color=_MUTED)  # fmt: skip
        return
    rotated = report["nulls"]["rotated"]["curve"]
    x = _shares(report["parents"])
    axes.fill_between(x, rotated["low"], rotated["high"], color=_ROTATED, alpha=0.35, lw=0)
    axes.plot(x, rotated["median"], color=_ROTATED, lw=1.2, label="turned covariances")
    if other.get("curve") is not None:
        axes.plot(_shares(other["parents"]), other["curve"], color=_RANDOM, lw=1.4, ls="--",
                  label="random model")  # fmt: skip
    axes.plot(x, report["curve"], color=_OWN, lw=1.8, label="data")
    _knee(axes, report)
    axes.set_xlabel("charts, as a share of parents")
    axes.set_ylabel("energy, of that in own charts")
    axes.set_xlim(0, 1)
    axes.set_ylim(bottom=min(0.0, *report["curve"]))
    axes.legend(frameon=False, fontsize=9, loc="lower right")


def _knee(axes: Axes, report: Report) -> None:
    knee = report["knee"]["value"]
    if knee is None:
        return
    at = knee / report["parents"]
    axes.axvline(at, color=_OWN, lw=1, ls=":")
    axes.annotate(f"knee: {knee:g} charts", (at, report["curve"][knee - 1]), xytext=(6, -12),
                  textcoords="offset points", color=_INK, fontsize=9)  # fmt: skip


def _shares(parents: int) -> list[float]:
    return [(number + 1) / parents for number in range(parents)]
