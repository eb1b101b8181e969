"""One self-contained HTML page from a report: no network, no scripts, light and dark."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from monosemy.foundation import storage
from monosemy.reports import figures, measures
from monosemy.reports.glyphs import quoted, visible
from monosemy.reports.measures import Column, Measure, Report

_TEMPLATES = Path(__file__).with_name("templates")
# Steps of shading: more than the eye tells apart, few enough for a short style sheet.
_SHADES = 9


def write_page(report: Report, path: Path | str) -> Path:
    """Write the page to `path`, atomically; gives the path back."""
    storage.write_text(Path(path), page(report))
    return Path(path)


def page(report: Report) -> str:
    """The page as HTML.

    It loads nothing from elsewhere and its content policy forbids it to; every token, name and
    label is escaped. Optional parts (controls, figures, features, ...) that a report leaves out say
    so in their place.

    Parameters
    ----------
    report : as `report.json` holds it; only `model`, `site`, `dictionary` and `metrics` must be
        there.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    groups = _groups(report)
    return environment.get_template("report.html.jinja").render(
        report=report,
        headlines=_headlines(report),
        columns=measures.columns(report),
        groups=groups,
        notes=_notes(groups),
        figures=_figures(report),
        features=[_feature(one) for one in report.get("features") or []],
        command=_command(report),
        made=_made(report),
        stages=_stages(report),
    )


# --- headlines -----------------------------------------------------------------------------------


def _headlines(report: Report) -> list[dict[str, str]]:
    """The numbers to read first, each with a sentence. What was not measured is left out."""
    dictionary = measures.COLUMNS[0]
    made = []
    for name, form, title, sentence in (
        ("ce_recovered_zero", ".1%", "loss recovered", _recovered_sentence),
        ("explained_variance", ".1%", "variance explained", _variance_sentence),
        ("l0", ".1f", "active latents a token", _sparsity_sentence),
        ("dead_fraction", ".1%", "dead latents", _dead_sentence),
    ):
        measure = Measure(name, title, "", form=form)
        found = measures.entry(report, dictionary, measure)
        if found is not None:
            made.append(
                {
                    "value": measures.written(measure, found["value"]),
                    "interval": measures.interval(measure, found),
                    "title": title,
                    "sentence": sentence(report),
                }
            )
    return made


def _recovered_sentence(report: Report) -> str:
    text = "of what the site does for next-token prediction survives in the reconstruction."
    control = measures.best_control(report, measures.measure("ce_recovered_zero"))
    if control is None:
        return text
    column, value = control
    left = 1 - report["metrics"]["ce_recovered_zero"]["value"]
    share = f" It leaves {left / (1 - value):.2f} of what that one leaves." if value < 1 else ""
    return f"{text} The best control ({column.label}) keeps {value:.1%}.{share}".replace("%", " %")


def _variance_sentence(report: Report) -> str:
    text = "of the activation's variance is in the reconstruction, on held-out text."
    control = measures.best_control(report, measures.measure("explained_variance"))
    if control is None:
        return text
    return f"{text} The best control ({control[0].label}) reaches {control[1]:.1%}.".replace(
        "%", " %"
    )


def _sparsity_sentence(report: Report) -> str:
    latents, width = report["dictionary"]["latents"], report["site"]["width"]
    return f"of {latents:,} describe an activation of {width:,} numbers."


def _dead_sentence(report: Report) -> str:
    tokens = (report.get("text") or {}).get("heldout_tokens")
    return f"never fire on {tokens:,} held-out tokens." if tokens else "never fire on this text."


# --- the table -----------------------------------------------------------------------------------


def _groups(report: Report) -> list[dict[str, Any]]:
    """The table: groups of rows, each row a cell for every column."""
    columns = measures.columns(report)
    return [
        {
            "title": group.title,
            "rows": [
                {"measure": one, "cells": [_cell(report, column, one) for column in columns]}
                for one in group.measures
            ],
        }
        for group in measures.GROUPS
    ]


def _cell(report: Report, column: Column, measure: Measure) -> dict[str, Any]:
    """One number of the table; without a value, the reason under `missing`."""
    found = measures.entry(report, column, measure)
    if found is None:
        return {"missing": measures.missing(report, column, measure), "note": ""}
    return {
        "value": measures.written(measure, found["value"]),
        "interval": measures.interval(measure, found),
        "best": measures.best(report, measure) == column.name,
        "note": measures.note(column, measure, found),
        "missing": "",
    }


def _notes(groups: list[dict[str, Any]]) -> list[str]:
    """What the notes of the table say, each once."""
    cells = (cell for group in groups for row in group["rows"] for cell in row["cells"])
    return list(dict.fromkeys(cell["note"] for cell in cells if cell["note"]))


# --- figures and features ------------------------------------------------------------------------


def _figures(report: Report) -> dict[str, Markup]:
    """Each figure that the report has numbers for. Safe: figures hold no text of the report's."""
    drawn = {}
    if report.get("controls"):
        drawn["comparison"] = Markup(figures.comparison(report))
    if (report.get("densities") or {}).get("dictionary"):
        drawn["densities"] = Markup(figures.densities(report))
    if curve := (report.get("training") or {}).get("curve"):
        drawn["training"] = Markup(figures.training(curve))
    return drawn


def _feature(one: Mapping[str, Any]) -> dict[str, Any]:
    histogram = one.get("histogram") or {}
    examples = one.get("examples") or []
    strongest = one["max_activation"]
    drawn = (
        figures.activations(histogram, f"feature-{one['id']}") if histogram.get("counts") else ""
    )
    return {
        "id": one["id"],
        "density": f"{one['density']:.2%}".replace("%", " %"),
        "max": f"{strongest:.2f}",
        "histogram": Markup(drawn),
        "examples": [_example(example, strongest) for example in examples],
        "peaks": _peaks(examples),
        "raised": [_chip(token, weight) for token, weight in one.get("raised") or []],
        "lowered": [_chip(token, weight) for token, weight in one.get("lowered") or []],
        "effects_note": one.get("effects_note", ""),
    }


def _example(example: Mapping[str, Any], strongest: float) -> dict[str, Any]:
    pairs = zip(example["tokens"], example["activations"], strict=True)
    return {
        "document": example["document"],
        "offset": example["offset"],
        "peak": f"{max(example['activations'], default=0.0):.2f}",
        "pieces": [_piece(token, value, strongest) for token, value in pairs],
    }


def _piece(token: str, value: float, strongest: float) -> dict[str, Any]:
    """A token with its shade from 0 (does not fire) to `_SHADES`."""
    share = min(max(value / strongest, 0.0), 1.0) if strongest > 0 else 0.0
    shade = max(1, round(share * _SHADES)) if share else 0
    text = visible(token, marked=bool(shade))
    body = text.lstrip(" ")
    space = text[: len(text) - len(body)]  # left unshaded, so that words stand out, not gaps
    return {"space": space, "text": body, "shade": shade, "value": f"{value:.2f}"}


def _peaks(examples: Sequence[Mapping[str, Any]]) -> list[tuple[str, int]]:
    """The tokens at which the examples peak, and at how many of them."""
    counted = Counter(
        example["tokens"][max(range(len(values)), key=values.__getitem__)]
        for example in examples
        if (values := example["activations"])
    )
    return [(quoted(token), count) for token, count in counted.most_common(4)]


def _chip(token: str, weight: float) -> dict[str, str]:
    return {"text": quoted(token), "weight": f"{weight:+.2f}".replace("-", "\N{MINUS SIGN}")}


# --- how it was made -----------------------------------------------------------------------------


def _made(report: Report) -> list[tuple[str, str]]:
    """Everything that says how to make the report again, as (name, value)."""
    rows = []
    for part in ("model", "site", "text", "dictionary", "recipe", "commit", "versions", "hardware"):
        value = report.get(part)
        if isinstance(value, Mapping):
            rows += [(f"{part} · {_plain(key)}", _shown(one)) for key, one in value.items()]
        elif value is not None:
            rows.append((part, _shown(value)))
    return rows


def _plain(key: str) -> str:
    return str(key).replace("_", " ")


def _shown(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    if isinstance(value, Mapping):
        return ", ".join(f"{_plain(key)} {_shown(one)}" for key, one in value.items())
    return f"{value:,}" if isinstance(value, int) else str(value)


def _command(report: Report) -> str:
    """The command as one would type it; empty where it was not recorded."""
    words = [str(word) for word in report.get("command") or []]
    # The program's folder is this machine's own business.
    return shlex.join([Path(words[0]).name, *words[1:]]) if words else ""


def _stages(report: Report) -> list[dict[str, Any]]:
    """Seconds of each stage, and its share of the longest, in percent."""
    stages = report.get("stages") or {}
    longest = max(stages.values(), default=0) or 1
    return [
        {"name": _plain(name), "seconds": f"{seconds:.1f}", "share": round(100 * seconds / longest)}
        for name, seconds in stages.items()
    ]
