"""Absorption and splitting in the terminal: the dictionary beside its controls, then each label."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

# metric -> what the table calls it
_ROWS = {
    "absorption_fraction": "absorption fraction",
    "absorption_fraction_by_child": "  children weighed alike",
    "full_absorption": "full absorption",
    "full_absorption_by_child": "  children weighed alike",
    "split_latents": "latents split into",
    "latents_f1": "F1 of those latents",
    "probe_f1": "F1 of activations",
}
# Children that a label's line names.
_NAMED = 3


def absorption_report(found: Mapping[str, Any]) -> RenderableType:
    """What ``monosemy absorption`` prints of its JSON."""
    own = found["absorption"]
    tokens, documents = found["tokens"], found["documents"]
    head = (
        f"{found['hierarchy']} on {found['site']}: {own['counted']} labels count, "
        f"{len(own['left_out'])} do not; {tokens['held_out']:,} labelled tokens of "
        f"{documents['held_out']:,} held-out documents; L0 {found['dictionary']['l0']:.1f}"
    )
    return Group(Text(head, style="bold"), "", _metrics(found), "", _labels(own), *_left_out(own))


def _metrics(found: Mapping[str, Any]) -> Table:
    columns = {"dictionary": found["absorption"], **found["controls"]}
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("mean over labels", no_wrap=True)
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    for metric, called in _ROWS.items():
        cells = [_estimate(column["metrics"].get(metric)) for column in columns.values()]
        table.add_row(called, *cells)
    return table


def _labels(own: Mapping[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("label", "tokens", "probe F1", "latents", "their F1", "fraction", "full"):
        table.add_column(name, justify="left" if name == "label" else "right", no_wrap=True)
    table.add_column("fully absorbed children (latent)")
    for label in own["labels"]:
        of_own = label["f1"][len(label["latents"]) - 1] if label["latents"] else 0.0
        table.add_row(
            label["label"], f"{label['tokens']:,}", f"{label['probe_f1']:.2f}",
            f"{len(label['latents'])}", f"{of_own:.2f}",
            _value(label["absorption_fraction"]), _value(label["full_absorption"]),
            ", ".join(_absorbed(label["children"])),
        )  # fmt: skip
    return table


def _absorbed(children: list[Mapping[str, Any]]) -> Iterator[str]:
    ordered = sorted(children, key=lambda one: -one["full_absorption"] * one["tokens"])
    for child in ordered[:_NAMED]:
        if child["full_absorption"] > 0:
            yield f"{child['name']} {child['full_absorption']:.0%} ({child['absorber']})"


def _left_out(own: Mapping[str, Any]) -> Iterator[RenderableType]:
    for name, reason in own["left_out"].items():
        yield Text(f"{name} does not count: {reason}", style="dim")


def _estimate(one: Mapping[str, Any] | None) -> str:
    if one is None or one["value"] is None:
        return "–"
    if one["low"] is None:
        return f"{one['value']:.3f}"
    return f"{one['value']:.3f}\n{one['low']:.3f}–{one['high']:.3f}"


def _value(one: Mapping[str, Any]) -> str:
    return "–" if one["value"] is None else f"{one['value']:.2f}"
