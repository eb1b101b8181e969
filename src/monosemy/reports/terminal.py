"""A report in the terminal: the table of measurements, then a dozen features."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.style import Style
from rich.table import Table
from rich.text import Text

from monosemy.reports import measures
from monosemy.reports.glyphs import quoted, visible
from monosemy.reports.measures import Column, Measure, Report

# Weak to strong. Black on amber reads on light and on dark terminals alike.
_SHADES = ("black on #fff0cc", "black on #ffdb94", "black on #ffbd52", "bold black on #ff9a1f")
_SIXTEEN = ("underline", "yellow", "bold yellow", "black on yellow")
# From this width on a value and its interval stand on one line; below the other, there is no room
# for intervals.
_WIDE = 138
_NARROW = 78


def render(report: Report, contexts: int = 4) -> RenderableType:
    """The whole report: what was measured, and `contexts` examples of each feature."""
    return Group(measurements(report), "", features(report, contexts))


# --- measurements --------------------------------------------------------------------------------


def measurements(report: Report) -> RenderableType:
    """The table of the main measurements beside their controls, and a line on every column."""
    return _Measurements(report)


class _Measurements:
    def __init__(self, report: Report):
        self.report = report

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        columns = measures.columns(self.report)
        width = options.max_width
        form = " [{}, {}]" if width >= _WIDE else "\n{}–{}" if width >= _NARROW else ""
        table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold")
        table.add_column("on held-out text")
        for column in columns:
            table.add_column(column.label, justify="right", no_wrap=True)
        for group in measures.GROUPS:
            for measure in group.measures:
                if measure.main:
                    table.add_row(*self._row(measure, columns, form))
        yield table
        yield ""
        yield from self._legend(columns)

    def _row(self, measure: Measure, columns: Sequence[Column], form: str) -> list[Text]:
        best = measures.best(self.report, measure)
        cells = [Text(measure.label)]
        for column in columns:
            found = measures.entry(self.report, column, measure)
            if found is None:
                cells.append(Text("–", style="dim"))
                continue
            is_best = column.name == best
            note = measures.note(column, measure, found)
            mark = "*" if is_best else "†" if note else " "
            style = "bold green" if is_best else "dim" if note else ""
            cell = Text(measures.written(measure, found["value"]) + mark, style=style)
            between = measures.interval(measure, found, form)
            cells.append(cell.append(between, style="dim not bold"))
        return cells

    def _notes(self, columns: Sequence[Column]) -> list[str]:
        shown = [measure for measure in measures.MEASURES if measure.main]
        notes = (
            measures.note(column, measure, found)
            for column in columns
            for measure in shown
            if (found := measures.entry(self.report, column, measure))
        )
        return list(dict.fromkeys(note for note in notes if note))

    def _legend(self, columns: Sequence[Column]) -> Iterator[RenderableType]:
        yield Text(
            "Each number with its 95 % interval over documents. *: best of those on the same model "
            "at equal L0.",
            style="dim",
        )
        grid = Table.grid(padding=(0, 2))
        grid.add_column(no_wrap=True, style="dim bold")
        grid.add_column(style="dim")
        for column in columns:
            grid.add_row(column.label, column.meaning)
        yield grid
        for note in self._notes(columns):
            yield Text(f"† {note}", style="dim")
        if len(columns) == 1:
            yield Text("No controls were measured, so nothing says what is much.", style="dim")


# --- features ------------------------------------------------------------------------------------


def features(report: Report, contexts: int = 4) -> RenderableType:
    """Every feature of the report, `contexts` examples each."""
    found = report.get("features") or []
    if not found:
        return Text("No features to show: no latent fired on the held-out text.")
    legend = (
        "Features: activation at the peak, context on held-out text, document@character; then the "
        "tokens that the feature's direction raises and lowers most."
    )
    return Group(Text(legend, style="dim"), "", *(feature(one, contexts) for one in found))


def feature(one: Mapping[str, Any], contexts: int = 4) -> RenderableType:
    """Density, strongest contexts with the firing tokens marked, and the tokens it moves."""
    return _Feature(one, contexts)


class _Feature:
    def __init__(self, one: Mapping[str, Any], contexts: int):
        self.one = one
        self.contexts = contexts

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        one = self.one
        title = Text.assemble(
            (f"feature {one['id']}", "bold"),
            (f"  on {one['density']:.2%} of tokens", "not bold"),
            (f"  strongest {one['max_activation']:.2f}", "dim not bold"),
        )
        yield Rule(title, align="left", style="dim", characters="─")
        examples = one.get("examples") or []
        for example in examples[: self.contexts]:
            yield self._example(example, console, options)
        if not examples:
            yield Padding(Text("no context to show", style="dim"), (0, 2))
        yield from self._moved(options)
        yield ""

    def _example(
        self, example: Mapping[str, Any], console: Console, options: ConsoleOptions
    ) -> RenderableType:
        strongest = max(example["activations"], default=0.0)
        line = Text(f"{strongest:8.2f}  ", style="dim", no_wrap=True, overflow="crop", end="")
        place = _place(example, options.max_width)
        room = options.max_width - line.cell_len - cell_len(place)
        piece = context(example, self.one["max_activation"], room, _shades(console))
        piece.align("left", max(room, 1))
        whole = Text("", no_wrap=True, overflow="crop").append_text(line).append_text(piece)
        return whole.append(place, style="dim")

    def _moved(self, options: ConsoleOptions) -> Iterator[RenderableType]:
        for key, word, style in (("raised", "raises", "green"), ("lowered", "lowers", "red")):
            tokens = self.one.get(key) or []
            line = Text(f"{word:>8}  ", style="dim")
            for token, _ in tokens:
                line.append(quoted(token), style=style).append("  ")
            if tokens:
                line.truncate(options.max_width, overflow="ellipsis")
                yield line
        if not self.one.get("raised") and not self.one.get("lowered"):
            reason = self.one.get("effects_note") or "no direct effect on tokens was measured"
            yield Padding(Text(reason, style="dim"), (0, 0, 0, 10))


def _place(example: Mapping[str, Any], width: int) -> str:
    """Where the example is from, in at most a third of the line; nothing on a narrow one."""
    if width < _NARROW:
        return ""
    place, most = f"{visible(example['document'])}@{example['offset']}", width // 3 - 2
    return "  " + (place if len(place) <= most else "…" + place[1 - most :])


def _shades(console: Console) -> tuple[str, ...] | None:
    """Styles from weak to strong; none where colour cannot be shown."""
    if console.no_color or console.color_system is None or console.is_dumb_terminal:
        return None
    return _SIXTEEN if console.color_system in ("standard", "windows") else _SHADES


def context(
    example: Mapping[str, Any], maximum: float, room: int, shades: tuple[str, ...] | None
) -> Text:
    """As much of the example around its strongest token as `room` columns hold.

    Firing tokens are shaded by their activation over `maximum`; without `shades` they stand
    between « and ».
    """
    activations = example["activations"]
    pieces = [
        _piece(token, value / maximum if maximum > 0 else 0.0, shades)
        for token, value in zip(example["tokens"], activations, strict=True)
    ]
    if not pieces:
        return Text("")
    peak = max(range(len(pieces)), key=lambda i: activations[i])
    start, stop = _around(peak, [piece.cell_len for piece in pieces], room - 2)
    line = Text("…" if start else "")
    for piece in pieces[start:stop]:
        line.append_text(piece)
    line.append("…" if stop < len(pieces) else "")
    line.truncate(max(room, 1), overflow="ellipsis")
    return line


def _piece(token: str, share: float, shades: tuple[str, ...] | None) -> Text:
    if share <= 0:
        return Text(visible(token))
    shown = visible(token, marked=True)
    if shades is None:
        return Text(f"«{shown}»")
    # A leading space stays unshaded, as it is not what fires that one looks for.
    place = min(int(share * len(shades)), len(shades) - 1)
    body = shown.lstrip(" ")
    return Text(" " * (len(shown) - len(body))).append(body, Style.parse(shades[place]))


def _around(peak: int, lengths: Sequence[int], room: int) -> tuple[int, int]:
    """The widest stretch about `peak` that fits, grown by turns to the left and to the right."""
    start, stop, used = peak, peak + 1, lengths[peak]
    while True:
        before = start > 0 and used + lengths[start - 1] <= room
        after = stop < len(lengths) and used + lengths[stop] <= room
        if not before and not after:
            return start, stop
        if before and (not after or peak - start <= stop - 1 - peak):
            start -= 1
            used += lengths[start]
        else:
            used += lengths[stop]
            stop += 1
