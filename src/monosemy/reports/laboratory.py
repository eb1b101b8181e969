"""Pages of the laboratory: a claim as Markdown, its figures as SVG with their data beside them."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from monosemy.foundation import storage
from monosemy.foundation.errors import UserError
from monosemy.reports.figures import style
from monosemy.superposition.claims import HOLDS, Claim, Finding

if TYPE_CHECKING:  # matplotlib takes a second to import, so it is imported when a figure is drawn
    from matplotlib.figure import Figure

INK, MUTED, GRID = "#6b7280", "#8b929c", "#9ca3af55"
MAIN, OTHER, HEAT = "#4f6bd8", "#8b929c", "#e08a1e"
SERIES = (MAIN, HEAT, "#2f9e73", "#b1519d", "#8b6f47", "#4aa3c7")
"""Colours that read on light and dark grounds, in the order they are taken."""
_NOTICE = "<!-- Written by `monosemy lab pages`; change the code and run it again. -->\n\n"


@dataclass(frozen=True)
class Picture:
    """A figure and the numbers it was drawn from.

    Attributes
    ----------
    name : of its files, without ending.
    caption : one or two sentences.
    svg : as a file of its own.
    data : of the figure, as JSON.
    """

    name: str
    caption: str
    svg: str
    data: Any


def drawn(draw: Callable[[Figure], None], size: tuple[float, float]) -> str:
    """What `draw` puts into a figure of so many inches, as SVG without ground.

    The same numbers give the same bytes.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({**style(INK, MUTED, GRID), "svg.hashsalt": "monosemy"}):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        out = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(out, format="svg", transparent=True, metadata=nothing)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def write(claim: Claim, pictures: Sequence[Picture], folder: Path) -> Path:
    """The claim's page, figures (``figures/NAME.svg``) and numbers (``figures/NAME.json``).

    Returns the page's path.
    """
    for picture in pictures:
        storage.write_text(folder / "figures" / f"{picture.name}.svg", picture.svg)
        text = json.dumps(picture.data, ensure_ascii=False, allow_nan=False)
        storage.write_text(folder / "figures" / f"{picture.name}.json", text + "\n")
    page = folder / f"{claim.name}.md"
    storage.write_text(page, markdown(claim, pictures))
    return page


def write_index(folder: Path, names: Sequence[str]) -> Path:
    """One line a claim, with its verdict, read from the pages of these names that are there.

    So the index says what the pages say, whichever of them were made last.
    """
    rows = "".join(
        f"| [{title}]({name}.md) | {claim} | **{verdict}** |\n"
        for name in names
        if (folder / f"{name}.md").exists()
        for title, claim, verdict in [_head(folder / f"{name}.md")]
    )
    page = folder / "index.md"
    storage.write_text(
        page,
        f"{_NOTICE}# The laboratory of superposition\n\n"
        "One page a claim: what is claimed, the reference, our number, a verdict. All are made by\n"
        "one command:\n\n```bash\nmonosemy lab pages --out docs/laboratory\n```\n\n"
        f"| page | claim | verdict |\n| --- | --- | --- |\n{rows}",
    )
    return page


def _head(page: Path) -> tuple[str, str, str]:
    """Title, claim and verdict of a page that `markdown` wrote."""
    text = page.read_text(encoding="utf-8")
    patterns = (r"^# (.+)$", r"^\*\*Claim\.\*\* (.+)$", r"^\*\*Verdict: ([^*]+?)\.\*\*")
    found = [re.search(pattern, text, re.MULTILINE) for pattern in patterns]
    missing = [
        one for one, match in zip(("title", "claim", "verdict"), found, strict=True) if not match
    ]
    if missing:
        raise UserError(f"{page} has no {missing[0]}; make it anew: monosemy lab pages {page.stem}")
    title, claim, verdict = (match[1] for match in found if match)
    return title, claim, verdict


def markdown(claim: Claim, pictures: Sequence[Picture]) -> str:
    """The page of a claim."""
    parts = [
        f"# {claim.title}", f"**Claim.** {claim.claim}", f"**Verdict: {claim.verdict}.** {claim.words}",
        *[f"![{one.caption}](figures/{one.name}.svg)\n\n*{one.caption}* "
          f"([data](figures/{one.name}.json))" for one in pictures],
        "## Numbers", _table(claim.findings), "## How it is measured", claim.method,
        "```bash\n" + "\n".join(claim.commands) + "\n```",
        "Settings: " + ", ".join(f"{key} {value}" for key, value in claim.settings.items()) + "."
        if claim.settings else "",
        f"Sources: {claim.source}",
    ]  # fmt: skip
    return _NOTICE + "\n\n".join(part for part in parts if part) + "\n"


def _table(findings: Sequence[Finding]) -> str:
    head = (
        "| what | kind | reference | ours | n | agrees |\n| --- | --- | --- | --- | --- | --- |\n"
    )
    return head + "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in _cells(finding)) + " |"
        for finding in findings
    )


def _cells(finding: Finding) -> tuple[str, ...]:
    agrees = {True: "yes", False: "**no**", None: "–"}[finding.holds]
    return (finding.what, finding.kind, _said(finding.reference), _ours(finding), finding.n, agrees)


def _ours(finding: Finding) -> str:
    if finding.low is None or finding.high is None:
        return _said(finding.ours)
    return f"{_said(finding.ours)} [{_said(finding.low)}, {_said(finding.high)}]"


def _said(value: float | str) -> str:
    if isinstance(value, str):
        return value or "–"
    if isinstance(value, int) or float(value).is_integer():
        return f"{int(value):,}"
    return f"{value:.2e}" if value and abs(value) < 1e-3 else f"{value:,.4g}"


def claim_report(claim: Claim) -> RenderableType:
    """A claim in the terminal: verdict, findings, what follows."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("", "reference", "ours", "n", ""):
        table.add_column(name, overflow="fold")
    for finding in claim.findings:
        what, kind, reference, ours, n, agrees = _cells(finding)
        label = what if kind == "reference" else f"{what} ({kind})"
        table.add_row(label, reference, ours, n, agrees.strip("*"))
    colour = "green" if claim.verdict == HOLDS else "yellow"
    head = Text(f"{claim.title}: ", style="bold").append(claim.verdict, style=colour)
    return Group(head, Text(claim.claim), "", table, "", Text(claim.words))
