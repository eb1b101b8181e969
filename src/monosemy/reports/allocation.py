"""Allocation in the terminal: burden before and after, the loss, the controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from monosemy.reports.allocation_numbers import MEASURES, arm_names, numbers_of, said, summary
from monosemy.reports.laboratory import MUTED, SERIES, drawn

if TYPE_CHECKING:  # matplotlib takes a second to import, so it is imported when a figure is drawn
    from matplotlib.figure import Figure

Report = Mapping[str, Any]
COLOURS = dict(zip(("allocated", "widened", "random", "variance", "continued"), (*SERIES[:4], MUTED),
                   strict=True))  # fmt: skip
WORDS = {"before": "before", "allocated": "own axes", "widened": "wider only",
         "random": "random directions", "variance": "top variances",
         "continued": "as it is"}  # fmt: skip
"""What the arms are called."""


def allocation_report(found: Report) -> RenderableType:
    """What ``monosemy allocate`` prints of its JSON."""
    many = len(found["features"])
    fit = sorted(found["fit"])
    lines = [
        Text(f"{many} of {found['model']} {found['site']} on axes of their own, moved by the MLP of "
             f"layer {found['layer']}", style="bold"),
        Text(f"largest difference of a logit in float64 before the move: "
             f"{found['proof']['max_abs_logit_difference_float64']:.1e} "
             f"({found['proof']['relative_float64']:.1e} of the largest) on "
             f"{found['proof']['predictions']:,} predictions"),
        Text(f"read by their own neurons: R² {fit[len(fit) // 2]:.2f} (median), "
             f"{fit[0]:.2f} to {fit[-1]:.2f}, on tokens that nothing was fitted on"),
    ]  # fmt: skip
    shown = {"before": found["before"]}
    shown |= {name: one["burden"] for name, one in found["arms"].items() if name != "continued"}
    parts: list[RenderableType] = [*lines, "", _burden_table(shown), "", _loss_table(found)]
    if "relation" in found:
        parts += ["", _relation_table(found["relation"])]
    return Group(*parts)


def _burden_table(arms: Mapping[str, Report]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("burden", no_wrap=True)
    for name in arms:
        table.add_column(WORDS[name], justify="right", overflow="fold")
    for key, (words, _) in MEASURES.items():
        table.add_row(words, *[said(numbers_of(burden)[key]) for burden in arms.values()])
    return table


def _loss_table(found: Report) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in (
        "held-out loss, nats a token",
        "parameters",
        "at the start",
        "moved at once",
        "trained",
    ):
        table.add_column(name, justify="right" if name != "held-out loss, nats a token" else "left")
    for name, one in found["arms"].items():
        at_once = f"{found['moved_at_once']:.4f}" if name == "allocated" else ""
        table.add_row(WORDS[name], f"{one['parameters']:,}", f"{one['curve'][0]['heldout']:.4f}",
                      at_once, f"{one['curve'][-1]['heldout']:.4f}")  # fmt: skip
    return table


def _relation_table(found: Report) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("offset on one coordinate", "before", "on its axis"):
        table.add_column(name, justify="right" if name != "offset on one coordinate" else "left")
    before, after = found["before"], found["after"]
    for place, pair in enumerate(before["pairs"]):
        table.add_row(pair, f"{before['offsets'][place]:.2f}", f"{after['offsets'][place]:.2f}")
    table.add_row(
        "offset / deviation inside words", said(before["d_prime"]), said(after["d_prime"])
    )
    table.add_row(
        "second words above first ones", f"{before['apart']:.1%}", f"{after['apart']:.1%}"
    )
    return table


def study_report(found: Report) -> RenderableType:
    """What ``monosemy allocate --study`` prints: a table for each number of features."""
    parts: list[RenderableType] = []
    for count in map(str, found["counts"]):
        rows = summary(found, count)
        table = Table(box=None, pad_edge=False, header_style="bold", title=f"{count} features",
                      title_justify="left")  # fmt: skip
        table.add_column("", no_wrap=True)
        names = arm_names(found, count)
        for name in names:
            table.add_column(WORDS[name], justify="right", overflow="fold")
        for words, cells in rows:
            table.add_row(words, *[cells.get(name, "") for name in names])
        parts += [table, ""]
    return Group(*parts)


# --- drawing -------------------------------------------------------------------------------------


def loss_figure(found: Report) -> str:
    """Held-out loss against training tokens, as SVG."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for name, one in found["arms"].items():
            _curve(axes, [one["curve"]], name)
        _label(axes)
        axes.legend(frameon=False, fontsize=9)

    return drawn(draw, (7.2, 3.4))


def loss_figures(found: Report) -> str:
    """The study's losses: a panel for each number of features, the mean of all seeds."""

    def draw(figure: Figure) -> None:
        panels = figure.subplots(1, len(found["counts"]), squeeze=False)[0]
        for axes, count in zip(panels, found["counts"], strict=True):
            arms = found["results"][str(count)]["arms"]
            for name in ("continued", "widened", "random", "variance", "allocated"):
                curves = [
                    one["curve"]
                    for one in (found["continued"] if name == "continued" else arms[name])
                ]
                _curve(axes, curves, name)
            axes.set_title(f"{count} features", fontsize=10)
            _label(axes, axes is panels[0])
        panels[-1].legend(frameon=False, fontsize=8)

    return drawn(draw, (10, 3.4))


def burden_figure(found: Report) -> str:
    """R² of linear readings against dimensions: single axes, any subspace, everything."""

    def draw(figure: Figure) -> None:
        panels = figure.subplots(1, len(found["counts"]), sharey=True, squeeze=False)[0]
        for axes, count in zip(panels, found["counts"], strict=True):
            arms = found["results"][str(count)]["arms"]
            for name in ("before", "widened", "random", "variance", "allocated"):
                colour = COLOURS.get(name, MUTED)
                many = [one["burden"]["decodability"] for one in arms[name]]
                ks = many[0]["k"]
                style = {"color": colour, "lw": 2 if name == "allocated" else 1.2}
                axes.plot(ks, _mean([one["axes"] for one in many]), label=WORDS[name], **style)
                axes.plot(ks, _mean([one["subspace"] for one in many]), ls=":", **style)
            axes.set_xscale("log", base=2)
            axes.set_xticks(ks, [str(k) for k in ks])
            axes.set_xlabel("dimensions read (solid: axes, dotted: any)")
            axes.set_title(f"{count} features", fontsize=10)
        panels[0].set_ylabel("held-out R²")
        panels[0].set_ylim(0, 1)
        panels[-1].legend(frameon=False, fontsize=8)

    return drawn(draw, (10, 3.4))


def figures(found: Report) -> dict[str, str]:
    """The study's figures by name."""
    return {"allocation-loss": loss_figures(found), "allocation-burden": burden_figure(found)}


def _curve(axes: Any, curves: Sequence[Sequence[Report]], name: str) -> None:
    tokens = [point["tokens"] / 1000 for point in curves[0]]
    loss = _mean([[point["heldout"] for point in curve] for curve in curves])
    axes.plot(tokens, loss, color=COLOURS[name], label=WORDS[name],
              lw=2 if name == "allocated" else 1.2,
              ls="--" if name == "continued" else "-")  # fmt: skip


def _label(axes: Any, left: bool = True) -> None:
    axes.set_xlabel("training tokens, thousands")
    if left:
        axes.set_ylabel("held-out loss, nats")


def _mean(rows: Sequence[Sequence[float]]) -> list[float]:
    return [sum(column) / len(column) for column in zip(*rows, strict=True)]
