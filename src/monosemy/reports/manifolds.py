"""Manifolds in the terminal and as figures: how circles are tiled, how families of features look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from monosemy.reports.laboratory import HEAT, INK, MAIN, MUTED, OTHER, drawn

if TYPE_CHECKING:  # matplotlib takes a second to import, so it is imported when a figure is drawn
    from matplotlib.figure import Figure

Report = Mapping[str, Any]
_SHOWN = 6


def manifolds_report(found: Report) -> RenderableType:
    """What ``monosemy lab manifolds`` prints of its JSON."""
    return _run(found) if "run" in found else _planted(found)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for place, name in enumerate(columns):
        table.add_column(name, justify="right" if place else "left")
    return table


def _planted(found: Report) -> RenderableType:
    planted = found["planted"]
    table = _table(
        "latents", "explained", "latents on each circle", "widest gap", "random directions"
    )
    for one in found["sizes"]:
        table.add_row(f"{one['latents']}", f"{one['explained']:.1%}",
                      ", ".join(map(str, one["tiles"]["counts"])),
                      f"{max(one['tiles']['gaps']):.0f}°", f"{one['random']['mean']:.2f} on average",
                      )  # fmt: skip
    own, null = found["learned"], found["random"]
    return Group(
        Text(f"{planted['circles']} circles and {planted['discrete']} plain features in "
             f"{planted['width']} dimensions; {found['samples']:,} samples", style="bold"),
        "", table, "",
        Text(f"families that are circles: {own['found']} of {own['circles']} planted ones found, "
             f"{own['wrong']} wrong; random directions: {null['circular']} of {null['with_shape']}"),
    )  # fmt: skip


def _run(found: Report) -> RenderableType:
    table = _table(
        "family", "latents", "tokens", "separability", "mixture", "hole", "in plane", "circle"
    )
    for one in found["shapes"][:12]:
        table.add_row(str(one["family"]), f"{len(one['latents'])}", f"{one['points']:,}",
                      f"{one['separability']:.2f}", f"{one['mixture']:.2f}", f"{one['hole']:.2f}",
                      f"{one['explained']:.0%}", "yes" if one["circular"] else "")  # fmt: skip
    subspaces, near = found["subspaces"], found["neighbourhoods"]
    lines: list[RenderableType] = [
        Text(f"{found['run']} ({found['place']}): {found['looked_at']} of {found['latents']:,} "
             f"latents, {found['tokens']:,} tokens", style="bold"), "", table,
        Text(f"{found['circular']} of {found['with_shape']} families with a shape are circles"),
        Text(_subspaces(subspaces)),
    ]  # fmt: skip
    if near:
        own = sorted(one["value"] for one in near)
        null = sorted(one["random_tokens"]["value"] for one in near)
        lines.append(Text(
            f"dimension of neighbourhoods (two nearest neighbours), median of {len(near)} latents: "
            f"{own[len(own) // 2]:.1f}; of as many random tokens {null[len(null) // 2]:.1f}"
        ))  # fmt: skip
    return Group(*lines)


def _subspaces(one: Report) -> str:
    null = one["gaussian"]
    return (f"{one['clusters']} clusters, rank {one['rank']}: own subspaces hold {one['local']:.1%} of "
            f"the variance inside clusters, one for all {one['pooled']:.1%} (gain {one['gain']:+.1%}; "
            f"Gaussian cloud {null['gain']:+.1%}; {one['points']:,} points held out)")  # fmt: skip


def tiles_svg(worlds: Sequence[Report]) -> str:
    """Latents on each circle against the size of the dictionary; what one family writes."""

    def draw(figure: Figure) -> None:
        left, *right = figure.subplots(1, 3, width_ratios=[1.5, 1, 1])
        for number, found in enumerate(worlds):
            for one in found["sizes"]:
                counts = one["tiles"]["counts"]
                shift = 1 + 0.05 * (number - (len(worlds) - 1) / 2)
                x = [one["latents"] * shift] * len(counts)
                spread = [value + 0.12 * (i - (len(counts) - 1) / 2) / len(counts)
                          for i, value in enumerate(counts)]  # fmt: skip
                first = not number and one is found["sizes"][0]
                left.scatter(x, spread, s=14, color=MAIN, alpha=0.6, lw=0,
                             label="learned: one circle" if first else None)  # fmt: skip
                left.scatter(one["latents"], one["random"]["mean"], s=30, color=OTHER, marker="D",
                             label="random directions, mean" if first else None)  # fmt: skip
        left.axhline(4, color=HEAT, lw=1, ls="--")
        left.annotate("two axes, both ways", (1, 4), xycoords=("axes fraction", "data"), xytext=(-4, 4),
                      textcoords="offset points", color=HEAT, fontsize=8, ha="right")  # fmt: skip
        left.set_xscale("log", base=2)
        sizes = [one["latents"] for one in worlds[0]["sizes"]]
        left.set_xticks(sizes, [str(size) for size in sizes])
        left.minorticks_off()
        left.set_xlabel("latents of the dictionary")
        left.set_ylabel("latents on a circle")
        left.set_ylim(-0.4, None)
        left.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1.0), ncol=2)
        shapes = [one for found in worlds for one in found["learned"]["shapes"]]
        for axes, circular in zip(right, (True, False), strict=True):
            chosen = [one for one in shapes if one["circular"] == circular]
            axes.set_title(
                "a circle's family" if circular else "another family", fontsize=9, color=INK
            )
            _cloud(axes, chosen[0] if chosen else None)

    return drawn(draw, (9.6, 3.0))


def _cloud(axes: Any, one: Report | None) -> None:
    axes.set_aspect("equal")
    axes.set_xlim(-2.6, 2.6)
    axes.set_ylim(-2.6, 2.6)
    axes.set_xticks([])
    axes.set_yticks([])
    if one is None:
        axes.annotate("none", (0.5, 0.5), xycoords="axes fraction", ha="center", color=MUTED)
        return
    axes.scatter([row[0] for row in one["plane"]], [row[1] for row in one["plane"]], s=4, color=MAIN,
                 alpha=0.7, lw=0)  # fmt: skip


def families_svg(found: Report) -> str:
    """What the families of most separability write, each in its plane."""
    chosen = found["shapes"][:_SHOWN]

    def draw(figure: Figure) -> None:
        for axes, place in zip(figure.subplots(1, _SHOWN), range(_SHOWN), strict=True):
            one = chosen[place] if place < len(chosen) else None
            _cloud(axes, one)
            if one is not None:
                axes.set_title(f"{len(one['latents'])} latents\n{one['separability']:.2f}, "
                               f"{one['mixture']:.2f}", fontsize=8, color=INK)  # fmt: skip

    return drawn(draw, (9.6, 2.1))
