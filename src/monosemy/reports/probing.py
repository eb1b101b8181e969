"""Probes in the terminal and as a figure: the dictionary beside its controls, at each k."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from monosemy.reports.figures import style

if TYPE_CHECKING:  # matplotlib takes a second to import, so it is imported when a figure is drawn
    from matplotlib.axes import Axes

Report = Mapping[str, Any]
_INK, _MUTED, _GRID = "#6b7280", "#8b929c", "#9ca3af55"
_COLOURS = {
    "dictionary": "#4f6bd8", "neurons": "#0f9d8a", "pca": "#e08a1e", "random": "#8b929c",
    "random_model": "#c2557a",
}  # fmt: skip
_CALLED = {"random_model": "random model"}
# Concepts whose best latents are listed.
_LISTED = 24


def probing_report(report: Report) -> RenderableType:
    """What ``monosemy probe`` prints of its JSON."""
    everything = report["groups"]["all"]
    head = (
        f"{report['source']} on {report['site']}: {everything['concepts']} concepts "
        f"({len(report['left_out'])} left out for few tokens), {report['tokens']:,} held-out tokens of "
        f"{report['documents']['probed']} documents in {report['folds']} folds; "
        f"L0 {report['dictionary']['l0']:.1f}"
    )
    return Group(
        Text(head, style="bold"), "", _means(report), "", _groups(report), "", _best(report),
        *_strangers(report),
    )  # fmt: skip


def _means(report: Report) -> Table:
    table = _table("mean over concepts", report)
    everything = report["groups"]["all"]
    for metric, called in (("auc", "AUC"), ("f1", "F1"), ("accuracy", "accuracy")):
        for k in map(str, report["ks"]):
            cells = [_cell(by_k[k][metric]) for by_k in everything["mean"].values()]
            table.add_row(f"{called}, k = {k}", *cells)
        if everything["dense"]:
            dense = [
                _cell(everything["dense"].get(name, {}).get(metric)) for name in _names(report)
            ]
            table.add_row(f"{called}, whole activation", *dense)
    return table


def _groups(report: Report) -> Table:
    k = str(report["ks"][0])
    table = _table(f"F1 by group, k = {k}", report)
    for group, found in report["groups"].items():
        cells = [f"{by_k[k]['f1']['value']:.3f}" for by_k in found["mean"].values()]
        table.add_row(f"{group} ({found['concepts']})", *cells)
    return table


def _table(title: str, report: Report) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(title, no_wrap=True)
    for name in _names(report):
        table.add_column(_CALLED.get(name, name), justify="right", no_wrap=True)
    return table


def _best(report: Report) -> Table:
    k = str(report["ks"][0])
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in (
        "best told concepts",
        "tokens",
        f"F1, k = {k}",
        "AUC",
        "best latent, fold by fold",
    ):
        table.add_column(name, justify="left" if "best" in name else "right", no_wrap=True)
    ordered = sorted(
        report["concepts"],
        key=lambda one: one["f1_of_always"] - one["dictionary"][k]["f1"]["value"],
    )
    for one in ordered[:_LISTED]:
        found = one["dictionary"][k]
        signed = [f"{latent}" if up else f"−{latent}"
                  for latent, up in zip(one["best"], one["speaks_for"], strict=True)]  # fmt: skip
        latents = signed[0] if len(set(signed)) == 1 else " ".join(signed)
        table.add_row(
            one["name"], f"{one['tokens']:,}", f"{one['f1_of_always']:.3f}", _short(found["f1"]),
            _short(found["auc"]), latents,
        )  # fmt: skip
    return table


def _strangers(report: Report) -> Iterator[RenderableType]:
    if other := report["documents"]["of_another_kind"]:
        yield Text(f"{other} documents are of another kind and were left out", style="dim")


def _names(report: Report) -> list[str]:
    return list(report["groups"]["all"]["mean"])


def _cell(one: Mapping[str, Any] | None) -> str:
    if one is None or one["value"] is None:
        return "–"
    if one.get("low") is None:
        return f"{one['value']:.3f}"
    return f"{one['value']:.3f}\n{one['low']:.3f}–{one['high']:.3f}"


def _short(one: Mapping[str, Any]) -> str:
    return "–" if one["value"] is None else f"{one['value']:.3f}"


# --- drawing --------------------------------------------------------------------------------------


def svg(report: Report) -> str:
    """Mean AUC and F1 at each k, the dictionary and its controls, as SVG without ground."""
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
        matplotlib.rcParams.update(style(_INK, _MUTED, _GRID) | {"svg.hashsalt": "probing"})
        figure = Figure(figsize=(8.4, 3.4), layout="constrained")
        left, right = figure.subplots(1, 2)
        _panel(left, report, "auc", "AUC")
        _panel(right, report, "f1", "F1")
        named = right.get_legend_handles_labels()
        figure.legend(*named, frameon=False, fontsize=8, loc="outside right upper")
        figure.savefig(file, **how)
    return file.getvalue()


def _panel(axes: Axes, report: Report, metric: str, called: str) -> None:
    everything, ks = report["groups"]["all"], report["ks"]
    places = range(len(ks))
    for name, by_k in everything["mean"].items():
        found = [by_k[str(k)][metric] for k in ks]
        values = [one["value"] for one in found]
        colour = _COLOURS.get(name, _INK)
        axes.plot(places, values, color=colour, marker="o", ms=3.5, lw=1.5,
                  label=_CALLED.get(name, name))  # fmt: skip
        if all(one["low"] is not None for one in found):
            axes.fill_between(places, [one["low"] for one in found], [one["high"] for one in found],
                              color=colour, alpha=0.15, lw=0)  # fmt: skip
    dense = everything["dense"].get("dictionary")
    if dense:
        axes.axhline(dense[metric]["value"], color=_INK, lw=1, ls=":", label="whole activation")
    axes.set_xticks(list(places), [str(k) for k in ks])
    axes.set_xlabel("latents of a probe (k)")
    axes.set_ylabel(f"mean {called} over {everything['concepts']} concepts")
