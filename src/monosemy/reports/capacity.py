"""Figures and the table of capacity."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table

from monosemy.reports.laboratory import INK, MUTED, SERIES, drawn
from monosemy.superposition.recovery import wilson

if TYPE_CHECKING:  # matplotlib takes a second to import, so it is imported when a figure is drawn
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def calculator_report(rows: Sequence[tuple[str, str, str]]) -> Table:
    """Question, answer and condition, a row each."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("features", overflow="fold")
    table.add_column("", justify="right", no_wrap=True)
    table.add_column("where", overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def matrices_report(matrices: Sequence[Mapping[str, Any]]) -> Table:
    """Capacities of a model's matrices, a row each."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("matrix", overflow="fold")
    for name in ("rows", "axes", "capacity", "share", "at random", "overlap"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in matrices:
        table.add_row(
            one["matrix"], f"{one['rows']:,}", f"{one['width']:,}", f"{one['sum']:.1f}",
            f"{one['share']:.0%}", f"{one['random_share']:.0%}", f"{one['overlap']:.2f}",
        )  # fmt: skip
    return table


def recovery_svg(data: Mapping[str, Any]) -> str:
    """Share of supports found against how many features are active."""
    return drawn(lambda figure: _recovery(figure.subplots(), data), (7.6, 3.6))


def _recovery(axes: Axes, data: Mapping[str, Any]) -> None:
    k = range(1, len(data["formula"]) + 1)
    for (name, shares), colour in zip(data["recovery"].items(), (*SERIES[:3], MUTED), strict=False):
        low, high = zip(*(wilson(share, data["n"]) for share in shares), strict=True)
        axes.fill_between(k, low, high, color=colour, alpha=0.2, lw=0)
        axes.plot(k, shares, color=colour, lw=1.6, marker="o", ms=3.5, label=name)
    axes.plot(k, data["formula"], color=INK, lw=1.2, ls="--", label="one shot, by formula")
    if data["limit"] <= len(data["formula"]):
        axes.axvline(data["limit"], color=INK, lw=0.9, ls=":")
    axes.set_xlabel(f"active of {data['features']} features in {data['width']} axes")
    axes.set_ylabel("supports found exactly")
    axes.set_ylim(-0.03, 1.05)
    axes.legend(frameon=False, fontsize=8.5, loc="upper right", bbox_to_anchor=(0.9, 1.0))


def fits_svg(data: Mapping[str, Any]) -> str:
    """How many fit against axes; with overlaps where there are any."""
    return drawn(lambda figure: _fits_and_overlaps(figure, data), (9.0, 3.6))


def _fits_and_overlaps(figure: Figure, data: Mapping[str, Any]) -> None:
    if data["overlaps"]:
        left, right = figure.subplots(1, 2, width_ratios=(3, 2))
        _overlaps(right, data["overlaps"])
    else:
        left = figure.subplots()
    _fits(left, data["fits"])


def _fits(axes: Axes, fits: Mapping[str, Any]) -> None:
    for tolerance, counts, colour in zip(
        fits["tolerances"], fits["random_code"], SERIES[1:], strict=False
    ):
        axes.plot(fits["widths"], counts, color=colour, lw=1.5, marker="o", ms=3,
                  label=f"at random within |cos| {tolerance:g}")  # fmt: skip
    axes.plot(fits["widths"], fits["linear_readout"], color=SERIES[0], lw=1.8, marker="o", ms=3,
              label=f"one linear readout, {fits['k']} active")  # fmt: skip
    axes.plot(fits["widths"], [math.log10(width) for width in fits["widths"]], color=INK, lw=1, ls=":",
              label="as many as axes")  # fmt: skip
    axes.set_xscale("log", base=2)
    axes.set_xticks([16, 64, 256, 1024, 4096], ["16", "64", "256", "1,024", "4,096"])
    axes.set_ylim(0, 11.4)  # beyond 10^12 a readout's are not counted
    axes.set_yticks([0, 3, 6, 9], ["1", "1 k", "1 M", "1 G"])
    axes.set_xlabel("axes")
    axes.set_ylabel("features")
    axes.legend(frameon=False, fontsize=8.5, loc="upper left")


def _overlaps(axes: Axes, overlaps: Mapping[str, float]) -> None:
    widths = [int(width) for width in overlaps]
    axes.plot(widths, [1 / width for width in widths], color=INK, lw=1.2, ls="--", label="1 / axes")
    axes.scatter(widths, list(overlaps.values()), color=SERIES[0], s=28, zorder=3, label="drawn")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.set_xticks(widths, [str(width) for width in widths])
    axes.set_yticks([1 / width for width in widths], [f"1/{width}" for width in widths])
    axes.set_xlabel("axes")
    axes.set_ylabel("mean squared overlap")
    axes.legend(frameon=False, fontsize=8.5)
