"""Manifolds in the terminal and as figures."""

from __future__ import annotations

from io import StringIO

from rich.console import Console

from monosemy.reports.manifolds import families_svg, manifolds_report, tiles_svg

SHAPE = {"family": 3, "latents": [1, 2, 3, 4], "points": 800, "separability": 0.24, "mixture": 0.15,
         "hole": 0.7, "explained": 0.9, "circular": True, "circle": 0,
         "plane": [[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]}  # fmt: skip
OTHER = {**SHAPE, "family": 4, "circular": False, "circle": None}
PLANTED = {
    "planted": {"circles": 2, "discrete": 3, "width": 16}, "samples": 3000,
    "sizes": [{"latents": size, "explained": 0.97, "tiles": {"counts": [4, 5], "gaps": [90.0, 110.0]},
               "random": {"mean": 0.0}} for size in (32, 64)],
    "learned": {"found": 2, "circles": 2, "wrong": 0, "shapes": [SHAPE, OTHER]},
    "random": {"circular": 0, "with_shape": 7},
}  # fmt: skip
RUN = {
    "run": "runs/x", "place": "blocks.0", "tokens": 20000, "latents": 4096, "looked_at": 300,
    "circular": 1, "with_shape": 2, "shapes": [SHAPE, OTHER],
    "neighbourhoods": [{"value": 7.5, "random_tokens": {"value": 12.5}}],
    "subspaces": {"clusters": 16, "rank": 4, "local": 0.4, "pooled": 0.2, "gain": 0.2, "points": 9000,
                  "gaussian": {"gain": 0.01}},
}  # fmt: skip


def said(found):
    out = StringIO()
    Console(file=out, width=140).print(manifolds_report(found))
    return out.getvalue()


def test_planted_circles_are_counted():
    text = said(PLANTED)
    for piece in ("4, 5", "110°", "2 of 2 planted ones found, 0 wrong", "0 of 7", "3,000 samples"):
        assert piece in text


def test_a_run_is_told_with_its_nulls():
    text = said(RUN)
    for piece in ("300 of 4,096 latents", "1 of 2 families", "Gaussian cloud +1.0%", "7.5", "12.5"):
        assert piece in text


def test_figures_are_drawn_the_same_each_time():
    assert tiles_svg([PLANTED]) == tiles_svg([PLANTED])
    assert families_svg(RUN).startswith("<?xml")
    bare = {**PLANTED, "learned": {**PLANTED["learned"], "shapes": []}}
    assert tiles_svg([bare]).startswith("<?xml")
