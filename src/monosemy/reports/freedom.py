"""The figure of freedom: singular values of norms' Jacobians, and keys that cannot be chosen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from monosemy.reports.laboratory import INK, SERIES, drawn

if TYPE_CHECKING:  # matplotlib takes a second to import, so it is imported when a figure is drawn
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LABELS = {
    "none": "no norm", "layernorm": "LayerNorm", "rmsnorm": "RMSNorm", "divisive": "separate pools",
    "learned pools": "overlapping pools",
}  # fmt: skip
_FLOOR = 1e-18


def svg(data: Mapping[str, Any]) -> str:
    """Of `data` as `recipes.laboratory.freedom.picture` makes it."""
    return drawn(lambda figure: _draw(figure, data), (9.0, 3.5))


def _draw(figure: Figure, data: Mapping[str, Any]) -> None:
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    _values(left, data)
    _keys(right, data)


def _values(axes: Axes, data: Mapping[str, Any]) -> None:
    width = data["width"]
    for (kind, values), colour in zip(data["values"].items(), SERIES, strict=False):
        shown = [max(value, _FLOOR) for value in values]
        axes.plot(range(1, width + 1), shown, color=colour, lw=1.5, marker="o", ms=3,
                  label=_LABELS[kind])  # fmt: skip
    axes.set_yscale("log")
    # Text stays text, so powers would be shown as their source.
    axes.set_yticks([1, 1e-6, 1e-12, 1e-18], ["1", "1e-6", "1e-12", "1e-18"])
    axes.minorticks_off()
    lost = sum(value < 1e-9 for value in data["values"]["divisive"])
    axes.set_xlim(max(0, width - lost - 8) + 0.5, width + 0.5)
    axes.set_xlabel(f"singular values of the Jacobian, the last of {width}")
    axes.set_ylabel("of the largest")
    axes.legend(frameon=False, fontsize=8.5, loc="lower left")


def _keys(axes: Axes, data: Mapping[str, Any]) -> None:
    kinds = list(next(iter(data["keys"].values())))
    places = range(len(kinds))
    groups = len(data["keys"])
    for number, (width, shares) in enumerate(data["keys"].items()):
        x = [place + (number - (groups - 1) / 2) * 0.36 for place in places]
        heights = [100 * shares[kind] for kind in kinds]
        axes.bar(x, heights, width=0.34, color=SERIES[number], label=f"{width} axes")
        for place, height in zip(x, heights, strict=True):
            axes.annotate(f"{height:.3g}", (place, height), ha="center", xytext=(0, 2),
                          textcoords="offset points", fontsize=8.5, color=INK)  # fmt: skip
    labels = [_LABELS[kind].replace(" ", "\n") for kind in kinds]
    axes.set_xticks(list(places), labels, fontsize=8.5)
    axes.set_ylabel("keys that no query prefers, %")
    axes.grid(visible=False, axis="x")
    axes.legend(frameon=False, fontsize=8.5)
