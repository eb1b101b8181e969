"""Draws `docs/figures/local-codes.svg`: the idea, one shared chart as it was found, its sharing curve.

    monosemy truth table conditional-rotated --dictionary local --seeds 5 --out runs/rotated
    python benchmarks/local_codes_figure.py --run runs/rotated/local/seed-0 --world conditional-rotated

The middle panel shows one chart that a trained dictionary found, seen along its first two axes: planted
child directions of the parents that share it as lines, found ones as dots, a colour a parent.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import matplotlib
import torch
from torch.nn.functional import normalize

from monosemy.data.features.source import WorldSource
from monosemy.data.features.worlds import open_world
from monosemy.dictionaries import files
from monosemy.dictionaries.local import LocalDictionary
from monosemy.tensors.compute import Compute
from monosemy.training import charts
from monosemy.training.charts import Bank

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402

OUT = Path(__file__).parent.parent / "docs" / "figures" / "local-codes.svg"
COLOURS = ["#4f6bd8", "#e08a1e", "#2e9e6b", "#c2417a"]
INK, SOFT = "#374151", "#9ca3af"


def idea(axes: Any) -> None:
    """Parents with directions of their own, children in a plane that they share."""
    axes.set_title("the idea", fontsize=10)
    axes.add_patch(plt.Polygon([(0.5, -2.2), (9.5, -2.2), (8, -5.4), (-1, -5.4)], color="#eef1fb"))
    axes.text(8.3, -5.15, "one chart", ha="right", fontsize=8.5, color=INK)
    for n, (place, name) in enumerate([(1.2, "parent A"), (4.3, "parent B"), (7.4, "parent C")]):
        on = n == 1
        colour = COLOURS[n] if on else SOFT
        axes.annotate("", (place + 0.25, 2.2), (place - 0.2, 0.2),
                      arrowprops={"arrowstyle": "-|>", "color": colour, "lw": 2.4})  # fmt: skip
        axes.text(place + 0.1, 2.5, name, ha="center", fontsize=8.5, color=colour)
        axes.plot([place, 4.2], [0.0, -2.9], color=colour, lw=1, ls="-" if on else ":")
        turn = 0.45 * n
        for child in range(3):
            angle = torch.tensor(turn + child * 2.0944)
            end = 4.2 + 2.1 * float(angle.cos()), -3.9 + 0.95 * float(angle.sin())
            axes.annotate("", end, (4.2, -3.9),
                          arrowprops={"arrowstyle": "-|>", "color": colour,
                                      "lw": 2.2 if on and child == 1 else 1.0,
                                      "alpha": 1.0 if on else 0.55})  # fmt: skip
    axes.text(4.3, 3.4, "parents exclude each other: one is on at a time", ha="center", fontsize=8,
              color=INK)  # fmt: skip
    axes.text(4.2, -6.1, "children reuse the same directions;\nwho is on says whose they are",
              ha="center", va="top", fontsize=8, color=INK)  # fmt: skip
    axes.set_xlim(-1.4, 10)
    axes.set_ylim(-7.6, 4.2)
    axes.axis("off")


def a_chart(axes: Any, dictionary: LocalDictionary, world: Any) -> None:
    """Planted and found children of the parents that point at the most used chart."""
    features, parents = world.features, normalize(dictionary.parents.W_dec.detach(), dim=1)
    roots = (features.levels == 0).nonzero()[:, 0]
    cosines = features.directions[roots] @ parents.T
    chart = int(torch.bincount(dictionary.routes[dictionary.routes >= 0]).argmax())
    members = (dictionary.routes == chart).nonzero()[:, 0]
    best = cosines[:, members].max(0).values.argsort(descending=True)
    good = members[best][: len(COLOURS)].tolist()
    V = dictionary.V[chart].detach()
    for colour, p in zip(COLOURS, good, strict=False):
        root = int(roots[int(cosines[:, p].argmax())])
        planted = features.directions[features.parents == root] @ V.T
        found = dictionary.C[p].detach()
        for line in planted:
            axes.plot([0, line[0]], [0, line[1]], color=colour, lw=1.6, alpha=0.75)
        axes.scatter(found[:, 0], found[:, 1], s=46, color=colour, zorder=3, edgecolor="white")
    axes.set_title("a chart that was found: four of its parents", fontsize=10)
    axes.set_xlabel("lines: planted children; dots: found, a colour a parent", fontsize=8.5)
    axes.set_aspect("equal")
    axes.set_xticks([])
    axes.set_yticks([])


def sharing(axes: Any, cells: dict[str, tuple[LocalDictionary, Any]]) -> None:
    """Energy that so many charts capture, as the charts were found."""
    for colour, (label, (dictionary, world)) in zip(COLOURS, cells.items(), strict=False):
        x = WorldSource(world, 65_536, Compute(seed=77)).rows(0, 65_536)
        bank = Bank(dictionary.bearers, 256, dictionary.width, x)
        _, _, levels = dictionary.find(x)
        found, entries = levels[-1].explained, levels[-1].bearers
        kept = found.values > 0
        p, child = entries.indices[kept], found.children[kept]
        inside = dictionary.C[p, child.clamp_min(0)] * (found.amounts[kept] * (child >= 0))[:, None]
        own = (inside[:, None] @ dictionary.V[dictionary.routes[p].clamp_min(0)])[:, 0]
        size = found.values[kept].clamp_min(float(dictionary.floor))
        bank.add(p, (found.rest[entries.rows[kept]] + own).detach(), size)
        merged = charts.merge(charts.factors(bank, 6), 3)
        curve = merged.captured / merged.captured[-1]
        axes.plot(range(1, len(curve) + 1), curve, color=colour, lw=2, label=label)
    axes.axvline(12, color=SOFT, lw=1, ls=":")
    axes.text(13, 0.06, "12 planted", fontsize=8, color=INK)
    axes.set_title("does a model share? the sharing curve", fontsize=10)
    axes.set_xlabel("charts", fontsize=9)
    axes.set_ylabel("energy captured", fontsize=9)
    axes.set_ylim(0, 1.03)
    axes.legend(frameon=False, fontsize=8.5, loc="lower right")


def main() -> None:
    """Read, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", default="runs/rotated/local/seed-0")
    parser.add_argument("--world", default="conditional-rotated")
    parser.add_argument("--unshared", default="runs/unshared/local/seed-0")
    options = parser.parse_args()
    cells = {}
    for label, folder, name in (("shared", options.run, options.world),
                                ("not shared", options.unshared, "conditional-unshared")):  # fmt: skip
        if (Path(folder) / "dictionary").exists():
            loaded = files.load(Path(folder) / "dictionary")
            assert isinstance(loaded, LocalDictionary)
            cells[label] = loaded, open_world(name, 0)
    plt.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "local-codes",
                         "font.family": "sans-serif"})  # fmt: skip
    figure, axes = plt.subplots(1, 3, figsize=(12.5, 4.2), layout="constrained")
    idea(axes[0])
    a_chart(axes[1], *cells["shared"])
    sharing(axes[2], cells)
    for one in axes[1:]:
        for side in ("top", "right"):
            one.spines[side].set_visible(False)
    figure.savefig(OUT, metadata={"Date": None})
    print(OUT)


if __name__ == "__main__":
    main()
