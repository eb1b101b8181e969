"""A census in the terminal and as a figure: models and nervous systems on one logarithmic axis."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from monosemy.models.census import BRAINS, Census

if TYPE_CHECKING:  # matplotlib takes a second to import, so it is imported when a figure is drawn
    from matplotlib.figure import Figure


def census_report(models: Sequence[Census]) -> RenderableType:
    """What ``monosemy census`` prints."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("model", no_wrap=True)
    for name in (
        "layers",
        "width",
        "units",
        "MLP\nneurons",
        "attention\naxes",
        "para-\nmeters",
        "freedom",
    ):
        table.add_column(name, justify="right", no_wrap=True)
    for model in models:
        free = model.freedom
        table.add_row(
            Path(model.name).name,
            *(f"{number:,}" for number in (model.layers, model.width, model.units,
                                           model.mlp_neurons, model.attention_axes)),
            short(model.parameters) if model.parameters else "–",
            f"{free['intrinsic']:,}" if free else "–",
        )  # fmt: skip
    words = ("units = layers x width; freedom: dimensions of the normalised stream\n"
             "(LayerNorm width - 2, RMSNorm width - 1)\n")  # fmt: skip
    if len(models) == 1:
        words += f"{_beside(models[0])}\nSource: {models[0].source}\n"
    return Group(table, "", Text(words + _brains(), style="dim"))


def short(number: int) -> str:
    """With a letter: ``174.6 B``.

    >>> short(174_604_259_328), short(1_279_872), short(262)
    ('174.6 B', '1.28 M', '262')
    """
    for letter, size in (("B", 10**9), ("M", 10**6), ("k", 10**3)):
        if number >= size:
            return f"{number / size:.4g} {letter}"
    return str(number)


def _beside(model: Census) -> str:
    brain = model.beside
    if brain is None:
        return f"Fewer units than {BRAINS[0].name} has neurons ({BRAINS[0].neurons:,})."
    return f"More units than {brain.name} has neurons ({brain.neurons:,})."


def _brains() -> str:
    return "Neurons: " + "; ".join(f"{brain.name} {brain.neurons:,}" for brain in BRAINS)


def figure_data(models: Sequence[Census]) -> dict[str, Any]:
    """What `svg` draws."""
    return {
        "models": [model.to_json() for model in models],
        "brains": [vars(brain) for brain in BRAINS],
    }


def svg(models: Sequence[Census]) -> str:
    """Units and MLP neurons of each model, beside the neurons of nervous systems, as SVG."""
    from monosemy.reports.laboratory import drawn

    ordered = sorted(models, key=lambda model: (model.units, model.mlp_neurons))
    return drawn(lambda figure: _draw(figure, ordered), (9.0, 1.9 + 0.25 * len(ordered)))


def _draw(figure: Figure, models: Sequence[Census]) -> None:
    from monosemy.reports.laboratory import HEAT, INK, MAIN, MUTED

    axes = figure.subplots()
    rows = range(len(models))
    units = [model.units for model in models]
    neurons = [model.mlp_neurons for model in models]
    axes.hlines(rows, units, neurons, color=MUTED, lw=0.8, alpha=0.6)
    axes.scatter(units, rows, s=30, color=MAIN, label="units: layers x width", zorder=3)
    axes.scatter(neurons, rows, s=30, color=HEAT, marker="D", label="MLP neurons", zorder=3)
    axes.set_yticks(list(rows), [model.name for model in models])
    axes.set_ylim(-0.8, len(models) - 0.2)
    axes.set_xscale("log")
    axes.set_xlim(min(100.0, 0.6 * min(units)), 3e11)
    # Letters: the style keeps text as text, so that powers would be shown as their source.
    axes.xaxis.set_major_formatter(lambda value, _: short(round(value)))
    axes.set_xlabel("how many")
    for brain in BRAINS:
        axes.axvline(brain.neurons, color=INK, lw=0.8, ls=":")
        axes.annotate(
            brain.name, (brain.neurons, 1), xycoords=("data", "axes fraction"), xytext=(0, 3),
            textcoords="offset points", rotation=40, ha="left", va="bottom", color=INK, fontsize=8.5,
        )  # fmt: skip
    axes.grid(visible=False, axis="y")
    axes.legend(frameon=False, fontsize=9, loc="lower left", bbox_to_anchor=(0.44, 0.01))
