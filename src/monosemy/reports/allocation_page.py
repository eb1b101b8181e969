"""The page of an allocation study, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from typing import Any

import jinja2

from monosemy.reports.allocation import WORDS
from monosemy.reports.allocation_numbers import arm_names, finals, mean, summary, verdicts

Report = Mapping[str, Any]


def page(found: Report, command: str) -> str:
    """What was done, the verdict, tables and figures."""
    burden, learning, words = verdicts(found)
    tables = "\n\n".join(_section(found, str(count)) for count in found["counts"])
    lines = "\n".join(f"- {line}" for line in words)
    file = resources.files("monosemy.reports") / "templates" / "allocation.md"
    template = jinja2.Environment(undefined=jinja2.StrictUndefined).from_string(
        file.read_text(encoding="utf-8")
    )
    given = {
        "burden": burden, "learning": learning, "tables": tables, "lines": lines,
        "rule": _RULES[found["config"]["by"]], "start": f"{_start(found):.4f}",
        "came_back": _came_back(found),
    }  # fmt: skip
    return template.render(
        found=found, command=command, words=WORDS, text=_text(found["text"]), **given
    )


_RULES = {"density": "fire most", "interference": "suffer most crosstalk",
          "burden": "are read worst from one axis", "chance": "chance drew"}  # fmt: skip


def _start(found: Report) -> float:
    return mean([one["curve"][0]["heldout"] for one in found["continued"]])


def _came_back(found: Report) -> str:
    """Whether training went below where the model began, in the mean of the seeds."""
    start = _start(found)
    below = [
        f"{WORDS[name]} ({count})"
        for count in map(str, found["counts"])
        for name, ones in found["results"][count]["arms"].items()
        if name != "before" and mean(finals(ones)) < start
    ]
    if below:
        return f"below it end, in the mean of the seeds: {', '.join(below)}."
    return (
        "in the mean of the seeds no arm ends below it (a fresh optimiser at that rate first raises "
        "the loss), so arms are compared with each other."
    )


def _section(found: Report, count: str) -> str:
    result = found["results"][count]
    names = arm_names(found, count)
    fits = sorted(value for one in result["readings"] for value in one["fit"])
    at_once = mean([one["moved_at_once"] for one in result["readings"]])
    head = "| | " + " | ".join(WORDS[name] for name in names) + " |"
    rule = "| --- |" + " ---: |" * len(names)
    rows = [
        f"| {words.strip()} | " + " | ".join(cells.get(name, "") for name in names) + " |"
        for words, cells in summary(found, count)
    ]
    return (
        f"## {count} features\n\nTheir own neurons read them with R² {fits[len(fits) // 2]:.2f} "
        f"(median; {fits[0]:.2f} to {fits[-1]:.2f}) on tokens that nothing was fitted on. Moved at "
        f"once and not trained, the held-out loss goes from {_start(found):.4f} to {at_once:.4f}.\n\n"
        + "\n".join([head, rule, *rows])
    )


def _text(text: str) -> str:
    return "of the standard library" if text == "stdlib" else f"`{text.rsplit('/', 1)[-1]}`"
