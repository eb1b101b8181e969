"""The page of an allocation study, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from typing import Any

import jinja2

from monosemy.reports.allocation import WORDS
from monosemy.reports.allocation_numbers import arm_names, mean, summary, verdicts

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
    given = {"burden": burden, "learning": learning, "tables": tables, "lines": lines}
    return template.render(
        found=found, command=command, words=WORDS, text=_text(found["text"]), **given
    )


def _section(found: Report, count: str) -> str:
    result = found["results"][count]
    names = arm_names(found, count)
    fits = sorted(value for one in result["readings"] for value in one["fit"])
    start = mean([one["curve"][0]["heldout"] for one in found["continued"]])
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
        f"once and not trained, the held-out loss goes from {start:.4f} to {at_once:.4f}.\n\n"
        + "\n".join([head, rule, *rows])
    )


def _text(text: str) -> str:
    return "of the standard library" if text == "stdlib" else f"`{text.rsplit('/', 1)[-1]}`"
