"""The table and the figure of a sweep say what was measured, and what was not."""

import copy
import xml.etree.ElementTree as ET

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.console import Console

from monosemy.reports import pareto


def entry(name: str, k: int, seed: int, l0: float, quality: float, **changes) -> dict:
    def number(value):
        return {"value": value, "low": value - 0.01, "high": value + 0.01}

    measured = {"l0": l0, "explained_variance": quality, "ce_recovered_zero": quality + 0.1}
    return {
        "name": name,
        "site": "blocks.0.mlp.hook_post",
        "changes": {"k": k, "seed": seed} | changes,
        "dictionary": {"architecture": "topk"},
        "metrics": {key: number(v) for key, v in measured.items()} | {"dead_fraction": number(0.5)},
    }


@pytest.fixture
def report() -> dict:
    entries = [
        entry("k=32,seed=0", 32, 0, 32.0, 0.8),
        entry("k=16,seed=0", 16, 0, 16.0, 0.6),
        entry("k=16,seed=1", 16, 1, 15.0, 0.7),
    ]
    return {"varied": ["k", "seed"], "dictionaries": entries}


def said(report: dict, width: int) -> str:
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(pareto.table(report, width))
    return console.export_text()


def test_the_table_holds_every_number_with_its_interval(report):
    wide = said(report, 140)
    assert "0.800 [0.790, 0.810]" in wide
    assert "32.00 [31.99, 32.01]" in wide
    assert "50.0 % [49.0, 51.0 %]" in wide
    narrow = said(report, 80)
    assert "0.790–0.810" in narrow
    assert max(map(len, narrow.splitlines())) <= 80


def test_a_name_of_ones_own_gets_its_values_beside_it(report):
    assert " k " not in said(report, 140).splitlines()[0]
    report["dictionaries"][0]["name"] = "mine"
    assert " k " in said(report, 140).splitlines()[0]


def test_what_was_not_measured_is_a_dash(report):
    report["dictionaries"][1]["metrics"] = None
    (row,) = [line for line in said(report, 140).splitlines() if line.startswith("k=16,seed=0")]
    assert row.count("–") == 4


def test_a_curve_runs_over_sparsity_through_means_over_seeds(report):
    (kind,) = pareto.kinds(report)
    assert kind == "topk"
    points = pareto.curve(pareto.kinds(report)[kind], "explained_variance")
    assert points == [(15.5, pytest.approx(0.65)), (32.0, 0.8)]


def test_what_differs_otherwise_is_a_curve_of_its_own(report):
    report["varied"].append("latents")
    for one, latents in zip(report["dictionaries"], (8, 16, 16), strict=True):
        one["changes"]["latents"] = latents
    assert set(pareto.kinds(report)) == {"latents = 8", "latents = 16"}


def test_a_variant_is_called_by_its_name(report):
    report["varied"] = ["latents", "objective.l1", "k", "seed"]
    for one, name in zip(report["dictionaries"], ("wide", "small", "small"), strict=True):
        one["changes"] |= {"latents": len(name), "objective.l1": 0.5}
        one["name"] = f"{name},l1=0.5,{one['name']}"
    assert set(pareto.kinds(report)) == {"wide", "small"}
    report["dictionaries"][1]["name"] = "other,k=16,seed=0"
    values = {"latents = 4", "latents = 5"}
    assert set(pareto.kinds(report)) == values, "one of them has two names"
    report["dictionaries"][1]["name"] = report["dictionaries"][2]["name"] = "wide,k=16"
    assert set(pareto.kinds(report)) == values, "a name stands for two of them"


# --- many kinds ----------------------------------------------------------------------------------


def wide(kinds: int) -> dict:
    """So many kinds, three sparsities and three seeds each."""
    entries = [
        entry(f"kind {kind},k={k},seed={seed}", k, seed, k + seed / 9, 0.3 + k / 99 + seed / 50,
              latents=kind)
        for kind in range(kinds) for k in (8, 16, 32) for seed in range(3)
    ]  # fmt: skip
    return {"varied": ["latents", "k", "seed"], "dictionaries": entries}


def drawn(report: dict) -> Figure:
    figure = Figure(layout="constrained")
    pareto._panels(figure, pareto.kinds(report))
    return figure


def test_each_of_many_kinds_has_a_look_of_its_own():
    figure = drawn(wide(24))
    (legend,) = figure.legends
    looks = {(line.get_color(), line.get_marker()) for line in legend.get_lines()}
    assert len(looks) == 24
    shown = {(line.get_color(), line.get_marker()) for line in figure.axes[0].lines}
    assert looks <= shown, "the legend shows what is drawn"
    assert [text.get_text() for text in legend.get_texts()] == [f"kind {i}" for i in range(24)]


def test_many_kinds_are_drawn_as_means_with_their_spread():
    few, many = (drawn(wide(kinds)).axes[0].lines for kinds in (10, 11))
    each = [len(lines) / kinds for lines, kinds in ((few, 10), (many, 11))]
    assert each == [2 * 9 + 1, 2 * 3 + 1], "a mark and a bar for each, and a line"
    bar, mark = many[:2]
    quality = 0.3 + 8 / 99
    assert bar.get_ydata() == pytest.approx([quality, quality + 2 / 50])
    assert list(mark.get_ydata()) == pytest.approx([quality + 1 / 50])
    assert list(mark.get_xdata()) == pytest.approx([8 + 1 / 9])


@pytest.mark.parametrize("kinds", [3, 11, 22])
@pytest.mark.parametrize(
    "name", ["kind", "a kind of dictionary with a name as long as keys make it"]
)
def test_the_legend_lies_inside_the_figure_and_beside_the_panels(kinds, name):
    report = wide(kinds)
    for one in report["dictionaries"]:
        one["name"] = one["name"].replace("kind", name)
    figure = drawn(report)
    FigureCanvasAgg(figure).draw()
    (legend,), renderer = figure.legends, figure.canvas.get_renderer()
    box = legend.get_window_extent(renderer)
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.x1
    for axes in figure.axes:
        panel = axes.get_tightbbox(renderer)
        assert not panel.overlaps(box)
        assert panel.height > 250, "a panel keeps its size"


def test_the_figure_is_well_formed_and_the_same_every_time(report):
    svg = pareto.svg(report)
    assert svg == pareto.svg(copy.deepcopy(report))
    texts = [text for text in ET.fromstring(svg).itertext() if text.strip()]
    assert "explained variance" in texts
    assert "topk" in texts
    png = pareto.png(report)
    assert png.startswith(b"\x89PNG")
    assert png == pareto.png(report)
    report["dictionaries"][0]["metrics"]["l0"]["value"] = 64.0
    assert pareto.svg(report) != svg


def test_a_panel_without_numbers_says_so(report):
    for one in report["dictionaries"]:
        one["metrics"]["ce_recovered_zero"] = {"value": None, "low": None, "high": None}
    assert "not measured" in pareto.svg(report)
    assert "not measured" not in pareto.svg(report | {"dictionaries": [entry("a", 1, 0, 2.0, 0.3)]})
    nothing = {"varied": ["k"], "dictionaries": [{**report["dictionaries"][0], "metrics": None}]}
    assert pareto.svg(nothing).count("not measured") == 2
