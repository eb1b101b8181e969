"""Codes in the terminal and as figures: what carries over to other contexts, and what does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from monosemy.reports.laboratory import HEAT, INK, MAIN, MUTED, OTHER, drawn

if TYPE_CHECKING:  # matplotlib takes a second to import, so it is imported when a figure is drawn
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Report = Mapping[str, Any]
_MEASURES = {
    "ccgp": "CCGP (contexts never seen)",
    "parallelism": "parallelism",
    "common": "common to contexts",
}
_NULL = "random geometry"


def codes_report(codes: Sequence[Report]) -> RenderableType:
    """What ``monosemy lab codes`` prints of its JSON."""
    parts: list[RenderableType] = []
    for found in codes:
        variance = ", ".join(f"{name} {share:.0%}" for name, share in found["variance"].items())
        parts += [
            Text(f"{found['name']}: {found['samples']:,} samples of {found['groups']:,} groups, "
                 f"{found['conditions']} conditions with at least {found['fewest']} each, "
                 f"{found['width']} numbers", style="bold"),
            Text(f"variance between conditions: {variance}"), _table(found),
            Text(_axes(found)), "",
        ]  # fmt: skip
    return Group(*parts)


def _table(found: Report) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for place, name in enumerate(("variable", "decoded", "CCGP (null)", "parallelism (null)",
                                  "common (null)", "angle", "factorised", "code")):  # fmt: skip
        table.add_column(name, justify="right" if 0 < place < 7 else "left", overflow="fold")
    for name, one in found["variables"].items():
        cells = [f"{one[key]['value']:.2f} ({one[key]['null'][_NULL]['mean']:.2f})"
                 for key in _MEASURES]  # fmt: skip
        table.add_row(f"{name} ({len(one['values'])} values)", f"{one['decoding']:.1%}", *cells,
                      f"{one['sharing']['angle']:.0f}°", f"{one['factorisation']:.2f}",
                      one["kind"])  # fmt: skip
    return table


def _axes(found: Report) -> str:
    one, shattering = found["disentanglement"], found["shattering"]
    said = (f"axes: disentanglement {one['disentanglement']:.2f} (shuffled "
            f"{one['shuffled']['disentanglement']:.2f}), completeness {one['completeness']:.2f}, "
            f"mutual information gap {one['gap']:.2f}")  # fmt: skip
    if "note" in shattering:
        return said
    return said + (f"; shattering {shattering['dimensionality']:.2f} over "
                   f"{shattering['dichotomies']} dichotomies")  # fmt: skip


def cube_report(found: Report) -> RenderableType:
    """Of the cube."""
    random = found["random"]
    return Group(
        Text(f"Three bits on the {found['conditions']} corners of a cube in {found['width']} "
             "dimensions", style="bold"),
        f"CCGP {found['ccgp']:.3f}, parallelism {found['parallelism']:.3f} (mean of 3 bits); "
        f"{found['shattering_count']} of {found['dichotomies']} balanced dichotomies separable",
        f"eight random points ({random['draws']} draws): CCGP {random['ccgp']:.3f}, parallelism "
        f"{random['parallelism']:.3f}; separable {', '.join(map(str, random['shattering_count']))} "
        f"of {found['dichotomies']}",
    )  # fmt: skip


def codes_svg(codes: Sequence[Report]) -> str:
    """CCGP, parallelism and what is common, of every variable of every code, beside random geometry."""
    rows = [
        (found["name"], name, one) for found in codes for name, one in found["variables"].items()
    ]

    def draw(figure: Figure) -> None:
        panels = figure.subplots(1, 3, sharey=True)
        for axes, (key, title) in zip(panels, _MEASURES.items(), strict=True):
            _panel(axes, rows, key)
            axes.set_title(title, fontsize=9, color=INK)
        names = [f"{name.split(',')[0]}: {variable}" for name, variable, _ in rows]
        panels[0].set_yticks(range(len(rows)), names, fontsize=8)
        panels[0].invert_yaxis()
        panels[0].axvline(0.5, color=MUTED, lw=0.8, ls=":")
        panels[2].axvline(0.5, color=HEAT, lw=0.8, ls="--")
        panels[2].annotate("global", (0.5, 1), xycoords=("data", "axes fraction"), xytext=(3, -9),
                           textcoords="offset points", color=HEAT, fontsize=8)  # fmt: skip

    return drawn(draw, (10.4, 0.27 * len(rows) + 1.0))


def _panel(axes: Axes, rows: Sequence[tuple[str, str, Report]], key: str) -> None:
    for place, (_, _, one) in enumerate(rows):
        measure = one[key]
        null = measure["null"][_NULL]
        axes.plot([null["mean"], null["high"]], [place, place], color=OTHER, lw=4, alpha=0.45,
                  solid_capstyle="butt")  # fmt: skip
        axes.scatter(null["mean"], place, color=OTHER, s=16, marker="D")
        if measure["low"] is not None:
            low, high = max(measure["low"], -0.3), min(measure["high"], 1.3)
            axes.plot([low, high], [place, place], color=MAIN, lw=1.4)
        axes.scatter(measure["value"], place, color=MAIN, s=24, zorder=3)
    axes.set_xlim(-0.3, 1.3)


def cube_svg(found: Report) -> str:
    """A cube and random points, by the three measures."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        random = found["random"]
        share = [found["shattering_count"] / found["dichotomies"],
                 sum(random["shattering_count"]) / len(random["shattering_count"])
                 / found["dichotomies"]]  # fmt: skip
        values = [(found["ccgp"], random["ccgp"]), (found["parallelism"], random["parallelism"]),
                  tuple(share)]  # fmt: skip
        for shift, which, colour, name in ((-0.2, 0, MAIN, "corners of a cube"),
                                           (0.2, 1, OTHER, "random points")):  # fmt: skip
            heights = [pair[which] for pair in values]
            bars = axes.bar([i + shift for i in range(3)], heights, 0.38, color=colour, label=name)
            axes.bar_label(bars, [f"{height:.2f}" for height in heights], fontsize=8, color=INK)
        axes.set_xticks(range(3), ["CCGP", "parallelism", "dichotomies separable"])
        axes.set_ylim(0, 1.15)
        axes.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1.0), ncol=2)

    return drawn(draw, (5.6, 3.0))
