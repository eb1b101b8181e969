"""Figures of the comparison of norms: the toy's curves, the models' numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from monosemy.reports.laboratory import INK, MUTED, SERIES, drawn

if TYPE_CHECKING:  # matplotlib takes a second to import, so it is imported when a figure is drawn
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NUMBERS = {
    "explained_variance": "variance a dictionary explains",
    "ce_recovered": "loss a dictionary recovers",
    "overlap_W_out": "overlap of what neurons write",
    "overlap_embeddings": "overlap of embeddings",
    "participation_W_out": "share of axes that neurons write over",
}
"""What is said of the models beside their loss."""
_LABELS = {
    "layernorm": "LayerNorm", "rmsnorm": "RMSNorm", "divisive": "divisive pools", "none": "no norm",
    "pools across": "pools across halves", "learned pools": "learned pools",
}  # fmt: skip
_PANELS = {
    "loss": "held-out loss, nats",
    "explained_variance": "explained variance",
    "overlap_W_out": "overlap of W_out",
}


def toy_svg(toy: Mapping[str, Any]) -> str:
    """Error against gain, of the other half (left) and of the own one (right)."""
    return drawn(lambda figure: _toy(figure, toy), (9.0, 3.6))


def _toy(figure: Figure, toy: Mapping[str, Any]) -> None:
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, key, label in ((left, "other", "gain of the other half"),
                             (right, "own", "gain of its own half")):  # fmt: skip
        for (kind, errors), colour in zip(toy[key].items(), SERIES, strict=False):
            axes.plot(toy["gains"], errors, color=colour, lw=1.6, marker="o", ms=3.5,
                      label=_LABELS[kind], ls="--" if kind == "pools across" else "-")  # fmt: skip
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xticks(toy["gains"], [f"{gain:g}" for gain in toy["gains"]])
        axes.set_xlabel(label)
    # Text stays text, so powers would be shown as their source; what lies higher is cut.
    left.set_ylim(0.007, 2.5)
    left.set_yticks([0.01, 0.1, 1.0], ["0.01", "0.1", "1"])
    left.set_ylabel("decoding error of the first half")
    left.legend(frameon=False, fontsize=8.5, loc="upper left")


def models_svg(data: Mapping[str, Any]) -> str:
    """Loss, explained variance and overlap, a row for each norm."""
    return drawn(lambda figure: _models(figure, data), (9.0, 1.3 + 0.34 * len(data["means"])))


def _models(figure: Figure, data: Mapping[str, Any]) -> None:
    panels = figure.subplots(1, len(_PANELS), sharey=True)
    kinds = list(data["means"])
    for axes, (name, title) in zip(panels, _PANELS.items(), strict=True):
        _panel(axes, data, kinds, name)
        axes.set_title(title, fontsize=10, color=INK)
    panels[0].set_yticks(range(len(kinds)), [_LABELS[kind] for kind in kinds])
    panels[0].set_ylim(len(kinds) - 0.5, -0.5)


def _panel(axes: Axes, data: Mapping[str, Any], kinds: list[str], name: str) -> None:
    for row, kind in enumerate(kinds):
        one = data["means"][kind][name]
        seeds = [model[name] for model in data["models"] if model["norm"] == kind]
        base = one["mean"] - one["difference"]
        axes.scatter(seeds, [row] * len(seeds), s=14, color=MUTED, alpha=0.7, lw=0)
        axes.hlines(row, base + one["low"], base + one["high"], color=SERIES[0], lw=1.6)
        axes.scatter([one["mean"]], [row], s=34, color=SERIES[0], zorder=3)
    axes.axvline(data["means"]["layernorm"][name]["mean"], color=INK, lw=0.8, ls=":")
    axes.grid(visible=False, axis="y")
