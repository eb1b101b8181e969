"""Figures as SVG to be put into a page: text stays text, colours follow the page's theme.

Every colour is a CSS variable with a fallback (`--figure-ink`, ...), ids begin with the figure's
own name so that several stand in one page, and the same numbers give the same bytes.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any

from monosemy.reports import measures
from monosemy.reports.measures import Column, Report

if TYPE_CHECKING:  # matplotlib takes a second to import, so it is imported when a figure is drawn
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Drawn in colours that nothing else uses, then replaced by variables of the page.
_INK, _MUTED, _GRID = "#010101", "#020202", "#030303"
_MAIN, _OTHER, _HEAT = "#040404", "#050505", "#060606"
_VARIABLES = {
    _INK: "var(--figure-ink, #6b7280)",
    _MUTED: "var(--figure-muted, #8b929c)",
    _GRID: "var(--figure-grid, #9ca3af55)",
    _MAIN: "var(--figure-main, #4f6bd8)",
    _OTHER: "var(--figure-other, #8b929c)",
    _HEAT: "var(--figure-heat, #e08a1e)",
}

_WIDTH = 9.6


def comparison(report: Report) -> str:
    """Two rows of dots with intervals: loss left unrecovered, and explained variance.

    Left unrecovered is ``1 - ce_recovered_zero``. The random model stands in the second only: its
    loss does not compare.
    """
    columns = measures.columns(report)
    title = "Loss left unrecovered and explained variance, beside their controls"
    size = (_WIDTH, 0.75 + 0.36 * len(columns))
    return _svg("comparison", title, size, partial(_draw_comparison, report, columns))


def _draw_comparison(report: Report, columns: Sequence[Column], figure: Figure) -> None:
    left, right = figure.subplots(1, 2, sharey=True)
    _dots(left, report, columns, "ce_recovered_zero", flip=True)
    _dots(right, report, columns, "explained_variance", flip=False)
    left.set_title("loss left unrecovered  (less is better)")
    right.set_title("explained variance  (more is better)")
    left.set_xlim(left=0)
    right.set_xlim(min(0.0, right.get_xlim()[0]), 1.04)  # a bad control can be below zero
    for axes in (left, right):
        axes.grid(visible=False, axis="y")
        axes.tick_params(length=0)
    left.set_yticks(range(len(columns)), [column.label for column in columns])
    left.set_ylim(len(columns) - 0.5, -0.75)


def _dots(axes: Axes, report: Report, columns: Sequence[Column], name: str, flip: bool) -> None:
    measure = measures.measure(name)
    for place, column in enumerate(columns):
        found = measures.entry(report, column, measure)
        if found is None or (flip and not column.contest):
            note = "does not compare" if found else "not measured"
            axes.annotate(
                note, (0.5, place), xycoords=("axes fraction", "data"), ha="center", va="center",
                color=_MUTED, fontsize=8.5,
            )  # fmt: skip
            continue
        colour = _MAIN if column.name == "dictionary" else _OTHER
        ends = [found[key] for key in ("low", "high") if found.get(key) is not None]
        ends = [1 - end if flip else end for end in ends]
        axes.plot(ends, [place] * len(ends), color=colour, lw=2.2, solid_capstyle="round")
        shown = 1 - found["value"] if flip else found["value"]
        axes.plot([shown], [place], "o", color=colour, ms=6.5)
        axes.annotate(
            f"{shown:.3f}", (shown, place), xytext=(0, 6), textcoords="offset points",
            ha="center", color=_INK, fontsize=8.5,
        )  # fmt: skip
    axes.margins(x=0.12)


def densities(report: Report) -> str:
    """How often latents fire: counts over log-spaced densities, dictionary against random model."""
    title = "Histogram of how often latents fire"
    return _svg("densities", title, (_WIDTH, 2.5), partial(_draw_densities, report["densities"]))


def _draw_densities(found: Mapping[str, Sequence[float]], figure: Figure) -> None:
    axes = figure.subplots()
    edges = [10 ** (-6 + place / 6) for place in range(37)]
    styles = {"dictionary": ("dictionary", _MAIN), "random_model": ("random model", _OTHER)}
    for name, (label, colour) in styles.items():
        values = found.get(name) or []
        alive = [value for value in values if value > 0]
        if not values:
            continue
        dead = len(values) - len(alive)
        label = f"{label}: {len(values):,} latents, {dead:,} never fire"
        options: dict[str, Any] = {"label": label, "color": colour}
        if name == "dictionary":
            axes.hist(alive, edges, histtype="stepfilled", alpha=0.35, **options)
            axes.hist(alive, edges, histtype="step", color=colour, lw=1.4)
        else:
            axes.hist(alive, edges, histtype="step", lw=1.4, linestyle=(0, (3, 2)), **options)
    every = [value for values in found.values() for value in values or [] if value > 0]
    axes.set_xscale("log")
    if every:
        axes.set_xlim(10 ** math.floor(math.log10(min(every))), 1)
    axes.xaxis.set_major_formatter(lambda value, place: f"{100 * value:g} %")
    axes.xaxis.set_minor_formatter("")
    axes.set_xlabel("share of tokens on which a latent fires")
    axes.set_ylabel("latents")
    axes.legend(
        loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=2, frameon=False, fontsize=9,
        handlelength=1.4,
    )  # fmt: skip


_CURVES = {
    "loss": "loss",
    "fvu": "variance left over",
    "l0": "active latents (L0)",
    "dead": "dead latents",
}


def training(curve: Sequence[Mapping[str, Any]]) -> str:
    """Loss, variance left over, L0 and dead latents over training, as far as they were logged."""
    return _svg("training", "Training curves", (_WIDTH, 2.1), partial(_draw_training, curve))


def _draw_training(curve: Sequence[Mapping[str, Any]], figure: Figure) -> None:
    from matplotlib.ticker import LogLocator

    names = [name for name in _CURVES if any(point.get(name) is not None for point in curve)]
    panels = figure.subplots(1, max(len(names), 1), squeeze=False)[0]
    for axes, name in zip(panels, names, strict=False):
        points = [(p["step"], p[name]) for p in curve if p.get(name) is not None]
        axes.plot(*zip(*points, strict=True), color=_MAIN, lw=1.6)
        axes.set_title(_CURVES[name])
        axes.set_xlabel("step")
        axes.set_xlim(left=0)
        axes.margins(y=0.1)
        values = [value for _, value in points]
        positive = min(values) > 0
        if positive and max(values) < 1.1 * min(values):
            axes.set_ylim(0.9 * min(values), 1.1 * max(values))  # else noise would fill the panel
        if name == "loss" and positive and points[0][1] > 8 * points[-1][1]:
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter("")


def cross_entropy(card: Mapping[str, Any]) -> str:
    """Held-out cross-entropy of the specimen over training, beside its n-gram models."""
    return _svg("cross-entropy", "Held-out cross-entropy", (7.6, 3.0), partial(_draw_nats, card))


def _draw_nats(card: Mapping[str, Any], figure: Figure) -> None:
    axes = figure.subplots()
    per_step = card["seen_tokens"] / card["recipe"]["steps"] / 1e6
    for name, label, colour in (("heldout", "held-out", _MAIN), ("loss", "training batch", _OTHER)):
        points = [(line["step"] * per_step, line[name]) for line in card["curve"]]
        axes.plot(*zip(*points, strict=True), color=colour, lw=1.6, label=label)
    bigram = card["cross_entropy"]["bigram"]
    axes.axhline(bigram, color=_HEAT, lw=1.2, ls="--", label=f"bigram model, {bigram:.2f}")
    axes.set_xlabel("million tokens seen")
    axes.set_ylabel("nats a token")
    axes.set_xlim(left=0)
    axes.legend(frameon=False, fontsize=9)


def activations(histogram: Mapping[str, Sequence[float]], name: str) -> str:
    """A small histogram of one feature's activations, heights on a logarithmic scale.

    Parameters
    ----------
    histogram : ``{"edges", "counts"}``, one more edge than counts.
    name : unique in the page.
    """
    title = "Histogram of the feature's activations (log counts)"
    return _svg(name, title, (2.4, 0.8), partial(_draw_activations, histogram))


def _draw_activations(histogram: Mapping[str, Sequence[float]], figure: Figure) -> None:
    figure.set_layout_engine(None)  # a dozen of these: measuring each one's text would take seconds
    axes = figure.add_axes((0.02, 0.28, 0.94, 0.7))
    edges, counts = histogram["edges"], histogram["counts"]
    # Counts fall by powers of ten; 1 must still be seen, and 0 must not.
    heights = [math.log10(count) + 0.3 if count else 0.0 for count in counts]
    axes.stairs(heights, edges, fill=True, color=_HEAT, alpha=0.75)
    axes.set_xlim(0, edges[-1])
    axes.set_yticks([])
    axes.set_xticks([0, edges[-1]], ["0", f"{edges[-1]:.3g}"])
    first, last = axes.get_xticklabels()
    first.set_horizontalalignment("left")
    last.set_horizontalalignment("right")
    axes.spines["left"].set_visible(False)
    axes.grid(visible=False)


# --- drawing -------------------------------------------------------------------------------------


def style(ink: str, muted: str, grid: str) -> dict[Any, Any]:
    """matplotlib's settings for a figure in three colours, on the ground of the page."""
    return {
        "svg.fonttype": "none",
        "text.parse_math": False,
        "font.size": 10,
        "axes.titlesize": 10,
        "axes.titlecolor": ink,
        "axes.labelcolor": muted,
        "axes.edgecolor": grid,
        "axes.facecolor": "none",
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "grid.color": grid,
        "grid.linewidth": 0.6,
        "text.color": ink,
        "xtick.color": grid,
        "ytick.color": grid,
        "xtick.labelcolor": muted,
        "ytick.labelcolor": ink,
        "xtick.labelsize": 9,
        "ytick.labelsize": 9,
        "figure.facecolor": "none",
    }


def _svg(name: str, title: str, size: tuple[float, float], draw: Callable[[Figure], None]) -> str:
    """What `draw` puts into a figure of `size` inches, as one ``<svg>`` element."""
    import matplotlib
    from matplotlib.figure import Figure

    file = io.StringIO()
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # a matplotlibrc of the user's would change the picture
        matplotlib.rcParams.update(style(_INK, _MUTED, _GRID) | {"svg.hashsalt": name})
        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(file, format="svg", metadata=nothing)
    return _for_page(file.getvalue(), name, title)


def _for_page(svg: str, name: str, title: str) -> str:
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    # Its style rule would hold for the whole page; both properties are inherited.
    svg = re.sub(r'<style type="text/css">.*?</style>', "", svg, flags=re.DOTALL)
    svg = re.sub(r'\b(id="|href="#|url\(#)', rf"\1{name}-", svg)
    # Matplotlib before 3.11 writes size and family into one property.
    svg = re.sub(r"font: [^;\"]*?([\d.]+px) [^;\"]*", r"font-size: \1", svg)
    svg = re.sub(r"font-family: [^;\"]*;? ?", "", svg)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, variable)
    opening, body = svg.split(">", 1)
    box = re.search(r'viewBox="[^"]*"', opening)
    assert box is not None  # matplotlib always writes one
    return (
        f'<svg class="figure" role="img" aria-label="{escape(title)}" {box.group()} '
        'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'style="stroke-linejoin: round; stroke-linecap: butt">{body}'
    )
