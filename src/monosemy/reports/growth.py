"""The growth of a model in the terminal: a row for each expansion, with its proof."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

Report = Mapping[str, Any]
# What a pass in float32 rounds anyway, as a share of the largest logit.
SINGLE = 1e-5


def growth_report(report: Report) -> RenderableType:
    """What ``monosemy grow`` prints of its JSON."""
    parameters = report["parameters"]
    more = parameters["after"] / parameters["before"]
    lines = [
        Text(f"{report['model']}: {parameters['before']:,} -> {parameters['after']:,} parameters "
             f"({more:.2f} x)", style="bold"),
        Text(f"before  {_said(report['before'])}\nafter   {_said(report['after'])}"),
    ]  # fmt: skip
    if not report["expansions"]:
        return Group(*lines, "", Text("Nothing was grown or written (--dry-run)."))
    return Group(*lines, "", _proof(report), "", Text(_summary(report)))


def _proof(report: Report) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("expansion", overflow="fold")
    for name in ("parameters", "real text", "random tokens", "since the start"):
        table.add_column(name, justify="right", no_wrap=True)
    for step in report["expansions"]:
        moved = step["max_abs_logit_difference_float64"]
        table.add_row(step["expansion"], f"{step['parameters']:,}", _short(moved["text"]),
                      _short(moved["random"]), _short(max(step["since_start"].values())))  # fmt: skip
    return table


def _summary(report: Report) -> str:
    many, written = report["predictions"], report["as_written"]
    return (
        "Largest difference of a logit in float64, on "
        f"{many['text']:,} predictions of real text and {many['random']:,} of random tokens; "
        f"the largest logit is {report['largest_logit']:.3g}, so "
        f"{report['relative_float64']:.1e} of it in all.\n"
        f"As written ({written['dtype']}) and opened again in float32: "
        f"{written['max_abs_logit_difference']:.1e} ({written['relative']:.1e} of the largest)"
        + _rounding(written)
    )


def _rounding(written: Mapping[str, Any]) -> str:
    if written["relative"] <= SINGLE:
        return "."
    if written["dtype"] == "float32":
        return ": float32 rounds that much in this model; in float64 it is the same function."
    return f": {written['dtype']} rounds the weights; float32 would keep them."


def _short(difference: float) -> str:
    return f"{difference:.1e}" if difference else "0"


def _said(shape: Mapping[str, int]) -> str:
    shared = "" if shape["groups"] == shape["heads"] else f" on {shape['groups']} keys and values"
    return (f"{shape['layers']} layers, width {shape['width']:,}, {shape['heads']} heads of "
            f"{shape['head']}{shared}, {shape['neurons']:,} neurons")  # fmt: skip
