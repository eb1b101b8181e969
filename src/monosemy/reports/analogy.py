"""Analogies in the terminal and as figures: who answered what, and the curve of a made world."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from monosemy.reports.laboratory import HEAT, MAIN, MUTED, OTHER, drawn

if TYPE_CHECKING:  # matplotlib takes a second to import, so it is imported when a figure is drawn
    from matplotlib.figure import Figure

Report = Mapping[str, Any]


def analogy_report(found: Report) -> RenderableType:
    """What ``monosemy lab analogy`` prints of its JSON."""
    if "world" in found:
        return _world(found)
    vectors = found["vectors"]
    parts: list[RenderableType] = [
        Text(f"{vectors['name']}: {vectors['words']:,} words, {vectors['width']} numbers each",
             style="bold")]  # fmt: skip
    if "ask" in found:
        parts += ["", *_asked(found["ask"])]
    if "methods" in found:
        parts += ["", _methods(found)]
        if found["relations"]:
            parts += ["", _relations(found["relations"])]
        if "carriers" in found:
            parts += ["", _carriers(found["carriers"])]
    return Group(*parts)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for place, name in enumerate(columns):
        table.add_column(name, justify="right" if place else "left", no_wrap=not place)
    return table


def _asked(ask: Report) -> list[RenderableType]:
    table = _table("word", "cosine", "")
    for one in ask["nearest"]:
        mark = "of the question" if one["of_the_question"] else ""
        table.add_row(one["word"], f"{one['cosine']:.3f}", mark)
    return [Text(f"{ask['question']} = {ask['answer']}  (of {ask['words']:,} words)"), table]


def _methods(found: Report) -> Table:
    many = found["covered"]
    table = _table("method", f"right of {many:,}", "", "95 %", "question words allowed", "")
    for name, one in found["methods"].items():
        low, high = found["interval"][name]
        right, including = one["correct"], one["correct_including_question_words"]
        table.add_row(name, f"{right:,}", f"{right / many:.1%}", f"{low:.1%} to {high:.1%}",
                      f"{including:,}", f"{including / many:.1%}")  # fmt: skip
    table.caption = f"{found['asked']:,} asked; {many:,} have vectors for all four words"
    return table


def _relations(relations: Report) -> Table:
    table = _table(
        "relation", "pairs", "mean cosine", "on one axis", "gain", "right: before, with it"
    )
    for name, one in relations.items():
        axis, shuffled = one["axis"], one["shuffled"]["mean"]
        own, dealt = (one[key].get("1") for key in ("captured", "shuffled_captured"))
        share = "–" if own is None else f"{own:.0%} ({dealt:.0%})"
        gain = ("–", "–") if "note" in axis else (
            f"{axis['gain']:.2f}",
            f"{axis['right_before']}, {axis['right_with_gain']} of {axis['questions']}")  # fmt: skip
        table.add_row(name, str(one["pairs"]), f"{one['consistency']:.2f} ({shuffled:.2f})", share,
                      *gain)  # fmt: skip
    table.caption = (
        "in brackets: the same words dealt anew. gain: the smallest of an added axis that marks the "
        "second words and leaves no mistake outside them; question words allowed"
    )
    return table


def _carriers(carried: Report) -> Table:
    table = _table("relation", "pairs", "latents that change", "latent", "change", "steady",
                   "explained so far")  # fmt: skip
    for name, one in carried.items():
        for place, latent in enumerate(one["latents"][:4]):
            first = (name, str(one["pairs"]), f"{one['active']:,}") if not place else ("", "", "")
            table.add_row(*first, str(latent["latent"]), f"{latent['change']:+.2f}",
                          f"{latent['steady']:.0%}", f"{latent['explained']:.0%}")  # fmt: skip
    return table


def _world(found: Report) -> RenderableType:
    world = found["world"]
    head = (f"{world['attributes']} attributes × {world['entities']} entities: {found['words']} words, "
            f"{found['questions']:,} questions; A + E = {found['dimensions']}")  # fmt: skip
    table = _table("dimensions", "right (3CosAdd)", "question words allowed", "parallelism")
    for one in found["ranks"]:
        table.add_row(str(one["rank"]), f"{one['accuracy']:.1%}", f"{one['including']:.1%}",
                      f"{one['parallelism']:.2f}")  # fmt: skip
    half = found["halfway"]
    tail = (f"Halfway down: accuracy at {half['accuracy']:.1f} dimensions, parallelism at "
            f"{half['parallelism']:.1f}; rank correlation of the two below A + E "
            f"{found['rank_correlation']:.2f}.")  # fmt: skip
    return Group(Text(head, style="bold"), "", table, "", Text(tail))


# --- figures -------------------------------------------------------------------------------------


def world_svg(worlds: Sequence[Report]) -> str:
    """Accuracy and parallelism against dimensions, a line a seed."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for number, found in enumerate(worlds):
            x = [one["rank"] for one in found["ranks"]]
            for key, colour, name in (("accuracy", MAIN, "3CosAdd, share right"),
                                      ("including", HEAT, "the same, question words allowed"),
                                      ("parallelism", OTHER, "parallelism of offsets")):  # fmt: skip
                axes.plot(x, [one[key] for one in found["ranks"]], color=colour, lw=1.6, alpha=0.8,
                          label=None if number else name,
                          ls="--" if key == "parallelism" else "-")  # fmt: skip
        entities, top = worlds[0]["world"]["entities"], worlds[0]["dimensions"]
        for at, said in ((entities, "E"), (top, "A + E")):
            axes.axvline(at, color=MUTED, lw=0.8, ls=":")
            axes.annotate(said, (at, 0.02), xytext=(3, 0), textcoords="offset points", color=MUTED,
                          fontsize=9)  # fmt: skip
        axes.set_xscale("log", base=2)
        ticks = [t for t in (1, 2, 4, 8, 16, 32, 64, 128) if t <= worlds[0]["words"]]
        axes.set_xticks(ticks, [str(t) for t in ticks])
        axes.set_xlabel("dimensions of the vectors")
        axes.set_ylim(-0.02, 1.04)
        axes.legend(frameon=False, fontsize=9, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncol=3)

    return drawn(draw, (7.2, 3.6))


def relations_svg(found: Report) -> str:
    """Mean cosine of each relation's offsets beside the same words dealt anew; questions by method."""

    def draw(figure: Figure) -> None:
        left, right = figure.subplots(1, 2, width_ratios=[1.5, 1])
        names = sorted(found["relations"], key=lambda n: found["relations"][n]["consistency"])
        for place, name in enumerate(names):
            one = found["relations"][name]
            left.plot([one["shuffled"]["mean"], one["consistency"]], [place, place], color=MUTED,
                      lw=0.8, zorder=0)  # fmt: skip
            left.scatter(one["consistency"], place, color=MAIN, s=26, zorder=2,
                         label=None if place else "pairs of the relation")  # fmt: skip
            left.scatter(one["shuffled"]["mean"], place, color=OTHER, s=26, zorder=2, marker="D",
                         label=None if place else "dealt anew")  # fmt: skip
        labels = [f"{name} ({found['relations'][name]['pairs']})" for name in names]
        left.set_yticks(range(len(names)), labels, fontsize=8)
        left.axvline(0, color=MUTED, lw=0.8)
        left.set_xlabel("mean cosine of offsets")
        left.legend(frameon=False, fontsize=8, loc="lower right")
        many = found["covered"]
        methods = list(found["methods"])
        for shift, key, colour, said in (
            (-0.2, "correct", MAIN, "not allowed"),
            (0.2, "correct_including_question_words", HEAT, "allowed"),
        ):
            shares = [found["methods"][name][key] / many for name in methods]
            right.bar([place + shift for place in range(len(methods))], shares, 0.38, color=colour,
                      label=said)  # fmt: skip
        right.set_xticks(range(len(methods)), methods, fontsize=8)
        right.set_ylabel(f"right, of {many:,} questions")
        right.set_ylim(0, 1)
        right.legend(frameon=False, fontsize=8, title="question words", title_fontsize=8)

    return drawn(draw, (9.2, 0.24 * max(len(found["relations"]), 6) + 1.3))
