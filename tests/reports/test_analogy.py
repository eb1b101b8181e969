"""Analogies in the terminal and as figures."""

from __future__ import annotations

from io import StringIO

from rich.console import Console

from monosemy.recipes.laboratory.analogy import examine_world
from monosemy.reports.analogy import analogy_report, relations_svg, world_svg
from monosemy.superposition.cooccurrence import WorldOfWords
from monosemy.tensors.compute import Compute

COUNTS = {"correct": 4, "correct_including_question_words": 1}
FOUND = {
    "vectors": {"name": "made.txt", "words": 9, "width": 3},
    "ask": {"question": "b - a + c", "answer": "d", "words": 9,
            "nearest": [{"word": "c", "cosine": 0.9, "of_the_question": True},
                        {"word": "d", "cosine": 0.8, "of_the_question": False}]},
    "asked": 20, "covered": 8, "correct": 4, "correct_including_question_words": 1,
    "methods": {"3CosAdd": COUNTS}, "interval": {"3CosAdd": [0.2, 0.8]},
    "relations": {
        "family": {"pairs": 4, "consistency": 0.6, "shuffled": {"mean": 0.1, "high": 0.2},
                   "captured": {"1": 0.5}, "shuffled_captured": {"1": 0.1},
                   "axis": {"gain": 0.7, "right_before": 2, "right_with_gain": 9, "questions": 12}},
        "currency": {"pairs": 3, "consistency": 0.2, "shuffled": {"mean": 0.1, "high": 0.2},
                     "captured": {}, "shuffled_captured": {}, "axis": {"note": "one country"}},
    },
    "carriers": {"family": {"pairs": 4, "active": 9, "latents": [
        {"latent": 17, "change": 1.5, "steady": 1.0, "explained": 0.4}]}},
}  # fmt: skip


def said(found):
    out = StringIO()
    Console(file=out, width=120).print(analogy_report(found))
    return out.getvalue()


def test_the_terminal_shows_counts_with_their_n():
    text = said(FOUND)
    for piece in ("b - a + c = d", "of the question", "right of 8", "50.0%", "20.0% to 80.0%",
                  "20 asked; 8 have", "2, 9 of 12", "0.60 (0.10)", "+1.50"):  # fmt: skip
        assert piece in text


def test_the_terminal_shows_a_world():
    found = examine_world(WorldOfWords(attributes=2, entities=4, contexts=60), Compute())
    text = said(found)
    assert "2 attributes × 4 entities: 8 words, 24 questions; A + E = 6" in text
    assert "Halfway down" in text
    assert world_svg([found]).startswith("<?xml")


def test_a_figure_of_relations_has_every_name():
    svg = relations_svg(FOUND)
    assert svg == relations_svg(FOUND)
    assert svg.startswith("<?xml")
