"""Figures of toy models: phase diagrams, plateaus, weights as arrows and as heat maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from monosemy.reports.laboratory import GRID, HEAT, INK, MAIN, MUTED, SERIES, drawn

if TYPE_CHECKING:  # matplotlib takes a second to import, so it is imported when a figure is drawn
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Numbers = Mapping[str, Any]
_PHASES = (MUTED, MAIN, HEAT)


def phase_diagrams(diagrams: Sequence[Numbers]) -> str:
    """Learned beside closed form, a row for each diagram; cells away that disagree are crossed."""
    return drawn(partial(_phase_diagrams, diagrams), (7.2, 2.9 * len(diagrams) + 0.5))


def _phase_diagrams(diagrams: Sequence[Numbers], figure: Figure) -> None:
    from matplotlib.patches import Patch

    grid = figure.subplots(len(diagrams), 2, sharex=True, sharey=True, squeeze=False)
    for row, diagram in zip(grid, diagrams, strict=True):
        name = f"{diagram['features']} in {diagram['hidden']}"
        share = f"{diagram['agreement']:.1%}".replace("%", " %")
        _phases(
            row[0], diagram, "learned", f"{name}, learned: {share} of {diagram['n_cells']} cells"
        )
        _phases(row[1], diagram, "closed_form", f"{name}, closed form")
        _crosses(row[0], diagram)
        for axes in row:
            _boundaries(axes, diagram)
        row[0].set_ylabel("density 1 − S")
    for axes in grid[-1]:
        axes.set_xlabel("importance of the extra feature")
    handles = [Patch(color=colour, label=name, alpha=0.75)
               for colour, name in zip(_PHASES, diagrams[0]["phases"], strict=True)]  # fmt: skip
    figure.legend(handles=handles, loc="outside upper center", ncols=3, frameon=False,
                  title="the extra feature is")  # fmt: skip


def _phases(axes: Axes, diagram: Numbers, key: str, title: str) -> None:
    from matplotlib.colors import ListedColormap

    density, importance = diagram["density"], diagram["importance"]
    axes.pcolormesh(importance, density, diagram[key], cmap=ListedColormap(_PHASES), vmin=-0.5,
                    vmax=2.5, shading="nearest", alpha=0.75, lw=0)  # fmt: skip
    axes.set(xscale="log", yscale="log", title=title)
    axes.set_xlim(importance[0], importance[-1])
    axes.set_ylim(density[-1], density[0])
    axes.set_xticks([0.1, 1, 10], ["0.1", "1", "10"])
    axes.set_yticks([1, 0.1, 0.01], ["1", "0.1", "0.01"])
    axes.minorticks_off()
    axes.grid(visible=False)


def _boundaries(axes: Axes, diagram: Numbers) -> None:
    """Of 2 in 1 where two features share, of 3 in 2 the same below r = 1; no curve is above 4/7."""
    import numpy as np

    from monosemy.superposition.phases import MEETING, boundary

    density = np.geomspace(diagram["density"][-1], MEETING, 200)
    low, high = boundary(density)
    two = diagram["features"] == 2
    axes.plot(low, density, color=INK, lw=1.2)
    if two:
        axes.plot(high, density, color=INK, lw=1.2)
    axes.plot([1, 1], [MEETING if two else diagram["density"][-1], 1], color=INK, lw=1.2)


def _crosses(axes: Axes, diagram: Numbers) -> None:
    for row, density in enumerate(diagram["density"]):
        for column, importance in enumerate(diagram["importance"]):
            same = diagram["learned"][row][column] == diagram["closed_form"][row][column]
            if not same and not diagram["near_boundary"][row][column]:
                axes.plot(importance, density, "x", color="#ffffff", ms=6, mew=1.6, zorder=4)


def plateaus(rows: Sequence[Numbers]) -> str:
    """D* by sparsity, and below it the dimensionality of every represented feature."""
    return drawn(partial(_plateaus, rows), (7.6, 6.4))


def _plateaus(rows: Sequence[Numbers], figure: Figure) -> None:
    from monosemy.superposition.geometry import PLATEAUS

    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1, 1.7))
    ratios = [row["ratio"] for row in rows]
    above.plot(ratios, [row["dimensions_per_feature"] for row in rows], "o-", color=MAIN, ms=5)
    for axes, names in ((above, ("own dimension", "antipodal pair")), (below, PLATEAUS)):
        for name in names:
            axes.axhline(PLATEAUS[name], color=HEAT, lw=0.9, alpha=0.8, zorder=1)
            axes.annotate(name, (1.01, PLATEAUS[name]), xycoords=("axes fraction", "data"),
                          color=INK, fontsize=8.5, va="bottom" if name == "pentagon" else
                          "top" if name == "square antiprism" else "center")  # fmt: skip
    for row in rows:
        values = row["dimensionalities"]
        # Side by side, so that many features at one height show as many.
        spread = [row["ratio"] * (0.985 + 0.03 * i / max(len(values) - 1, 1))
                  for i in range(len(values))]  # fmt: skip
        below.plot(spread, values, ".", color=MAIN, ms=4.5, alpha=0.7)
    above.set_ylabel("D*: dimensions per feature")
    below.set_ylabel("dimensionality of a feature")
    below.set(xscale="log", xlabel="1 / (1 − S)   (sparser to the right)", ylim=(0, 1.05))
    above.set_ylim(0, 1.1)
    below.set_xticks(ratios, [f"{ratio:g}" for ratio in ratios])
    below.minorticks_off()


def vulnerabilities(rows: Sequence[Numbers]) -> str:
    """Vulnerability and 1/D* by sparsity, on one scale each, beside random steps."""
    return drawn(partial(_vulnerabilities, rows), (7.6, 3.4))


def _vulnerabilities(rows: Sequence[Numbers], figure: Figure) -> None:
    axes = figure.subplots()
    ratios = [row["ratio"] for row in rows]
    for key, label, colour in (
        ("vulnerability", "best attack", MAIN), ("random_attack", "random steps", SERIES[2]),
        ("without_superposition", "model without superposition", MUTED),
    ):  # fmt: skip
        axes.plot(ratios, [row[key] for row in rows], "o-", ms=4, color=colour, label=label)
    shared = [1 / row["dimensions_per_feature"] for row in rows]
    axes.plot(ratios, shared, "s--", ms=4, color=HEAT, label="1/D*: features per dimension")
    axes.set(xscale="log", xlabel="1 / (1 − S)   (sparser to the right)", ylim=(0, None),
             ylabel="cost / squared length")  # fmt: skip
    axes.set_xticks(ratios, [f"{ratio:g}" for ratio in ratios])
    axes.minorticks_off()
    axes.legend(frameon=False, fontsize=9)


def onset(rows: Mapping[str, Sequence[Numbers]]) -> str:
    """Squared lengths by density of the linear and the ReLU model, and WᵀW of the latter."""
    return drawn(partial(_onset, rows), (9.6, 4.6))


def _onset(rows: Mapping[str, Sequence[Numbers]], figure: Figure) -> None:
    columns = len(rows["relu"])
    grid = figure.subplots(3, columns, height_ratios=(1, 1, 1.25))
    for line, (name, row) in zip(
        grid, (("linear", rows["linear"]), ("relu", rows["relu"])), strict=False
    ):
        for axes, one in zip(line, row, strict=True):
            shared = set(one["in_superposition"])
            squares = one["squared_lengths"]
            colours = [HEAT if i in shared else MAIN for i in range(len(squares))]
            axes.bar(range(len(squares)), squares, color=colours, width=0.9)
            axes.set(ylim=(0, 1.25), xticks=[], yticks=[0, 1])
            axes.tick_params(labelleft=axes is line[0])
            axes.grid(visible=False)
        line[0].set_ylabel("ReLU" if name == "relu" else name)
    for axes, one in zip(grid[0], rows["linear"], strict=True):
        axes.set_title(f"{one['density']:g}")
    for axes, one in zip(grid[2], rows["relu"], strict=True):
        heat_map(axes, one["gram"])
    grid[2][0].set_ylabel("WᵀW, ReLU")
    figure.suptitle("density 1 − S", color=MUTED, fontsize=10)


def heat_map(axes: Axes, matrix: Sequence[Sequence[float]]) -> None:
    """A matrix of numbers from -1 (orange) over 0 (nothing) to 1 (blue)."""
    from matplotlib.colors import LinearSegmentedColormap, to_rgba

    middle = to_rgba(MUTED, 0.06)
    colours = LinearSegmentedColormap.from_list("signed", [to_rgba(HEAT), middle, to_rgba(MAIN)])
    axes.imshow(matrix, cmap=colours, vmin=-1.2, vmax=1.2, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.grid(visible=False)
    for side in axes.spines.values():
        side.set_visible(False)


def arrows(axes: Axes, weights: Sequence[Sequence[float]], colours: Sequence[str]) -> None:
    """Columns of a matrix of two rows as arrows, and as a dot where there is next to nothing."""
    for x, y, colour in zip(*weights, colours, strict=True):
        if x**2 + y**2 < 0.15**2:
            axes.plot(x, y, "o", color=colour, ms=5, zorder=3)
            continue
        axes.annotate("", (x, y), (0, 0), arrowprops={
            "arrowstyle": "-|>", "lw": 2, "color": colour, "shrinkA": 0, "shrinkB": 0,
            "mutation_scale": 11,
        })  # fmt: skip
    axes.set(xlim=(-1.35, 1.35), ylim=(-1.35, 1.35), xticks=[], yticks=[], aspect="equal")
    axes.grid(visible=False)
    for side in axes.spines.values():
        side.set_visible(True)


def pentagons(rows: Sequence[Numbers]) -> str:
    """Columns of W of five features in a plane, a panel for each density of the first."""
    return drawn(partial(_pentagons, rows), (9.6, 1.6))


def _pentagons(rows: Sequence[Numbers], figure: Figure) -> None:
    panels = figure.subplots(1, len(rows), squeeze=False)[0]
    for axes, row in zip(panels, rows, strict=True):
        arrows(axes, row["weights"], (HEAT, *[MAIN] * (len(row["weights"][0]) - 1)))
        axes.set_title(f"{row['factor']:g}")


def _of_sets(weights: Sequence[Sequence[float]]) -> list[str]:
    return [SERIES[feature // 2] for feature in range(len(weights[0]))]


def companies(kinds: Mapping[str, Numbers], collapse: Sequence[Numbers]) -> str:
    """Columns of W for each kind of company, and of three pairs from sparse to dense."""
    return drawn(partial(_companies, kinds, collapse), (9.6, 4.1))


def _companies(kinds: Mapping[str, Numbers], collapse: Sequence[Numbers], figure: Figure) -> None:
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=(1.55, 1))[:, 0]
    above.suptitle("two sets of two features in two numbers", color=MUTED, fontsize=10)
    for axes, (name, kind) in zip(above.subplots(1, len(kinds)), kinds.items(), strict=True):
        arrows(axes, kind["best"], _of_sets(kind["best"]))
        axes.set_title(f"{name.split(',')[0]}, density {kind['density']:g}")
    below.suptitle(
        "three always-together pairs in two numbers, by density", color=MUTED, fontsize=10
    )
    panels = below.subplots(1, len(collapse), squeeze=False)[0]
    for axes, one in zip(panels, collapse, strict=True):
        arrows(axes, one["best"], _of_sets(one["best"]))
        axes.set_title(f"{one['density']:g}")


def dynamics(numbers: Numbers) -> str:
    """Dimensionalities and loss over steps, windows of largest change shaded."""
    return drawn(partial(_dynamics, numbers), (7.6, 5.0))


def _dynamics(numbers: Numbers, figure: Figure) -> None:
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1.6, 1))
    steps, values = numbers["steps"], numbers["dimensionality"]
    for feature in range(len(values[0])):
        above.plot(steps, [row[feature] for row in values], lw=1.7,
                   color=SERIES[feature // (len(values[0]) // 2)])  # fmt: skip
    below.plot(steps, numbers["loss"], color=INK, lw=1.7)
    moved = [sum(abs(a - b) for a, b in zip(one, other, strict=True))
             for one, other in zip(values, values[1:], strict=False)]  # fmt: skip
    count = numbers["coincidence"][numbers["best"]]["windows"]
    for place in sorted(range(numbers["begin"], len(moved)), key=lambda i: -moved[i])[:count]:
        for axes in (above, below):
            axes.axvspan(steps[place], steps[place + 1], color=MUTED, alpha=0.25, lw=0)
    above.set(ylabel="dimensionality", ylim=(0, 1.05))
    below.set(yscale="log", xlabel="step", ylabel="loss")
    below.minorticks_off()
    ticks = [10.0**k for k in range(-7, 1) if min(numbers["loss"]) / 3 < 10.0**k
             < 3 * max(numbers["loss"])]  # fmt: skip
    below.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    above.set_xlim(steps[0], steps[-1])


def neurons(rows: Sequence[Numbers]) -> str:
    """Squared weights of every neuron, stacked by feature, a panel for each density."""
    return drawn(partial(_neurons, rows), (9.6, 2.7))


def _neurons(rows: Sequence[Numbers], figure: Figure) -> None:
    panels = figure.subplots(1, len(rows), sharey=True, squeeze=False)[0]
    for axes, row in zip(panels, rows, strict=True):
        _stacks(axes, [[weight**2 for weight in neuron] for neuron in row["weights"]])
        share = f"{row['monosemantic']:.0%}".replace("%", " %")
        axes.set_title(f"{row['density']:g}\n{share}", fontsize=9.5)
        axes.set_xlabel("neuron")
    panels[0].set_ylabel("squared weights")
    figure.suptitle(
        "density 1 − S, and the share of monosemantic neurons", color=MUTED, fontsize=10
    )


def _stacks(axes: Axes, shares: Sequence[Sequence[float]], least: float = 5e-3) -> None:
    """A bar for each neuron, in pieces by feature; a feature keeps its colour in all panels.

    Pieces below `least` are put together on top.
    """
    bottom = [0.0] * len(shares)
    for feature in range(len(shares[0])):
        chosen = [i for i, row in enumerate(shares) if row[feature] >= least]
        heights = [shares[i][feature] for i in chosen]
        axes.bar(chosen, heights, 0.82, [bottom[i] for i in chosen], lw=0.3, edgecolor=GRID,
                 color=SERIES[feature % len(SERIES)],
                 alpha=1 - 0.3 * (feature // len(SERIES) % 3))  # fmt: skip
        for i, height in zip(chosen, heights, strict=True):
            bottom[i] += height
    rest = [max(sum(row) - low, 0.0) for row, low in zip(shares, bottom, strict=True)]
    axes.bar(range(len(shares)), rest, 0.82, bottom, color=MUTED, alpha=0.3, lw=0)
    axes.set_xticks([])
    axes.margins(x=0.02)
    axes.grid(visible=False)


def computation(small: Numbers, rows: Sequence[Numbers]) -> str:
    """Weights of the small model, and shares of each neuron of the large one by density."""
    return drawn(partial(_computation, small, rows), (9.6, 5.2))


def _computation(small: Numbers, rows: Sequence[Numbers], figure: Figure) -> None:
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=(1, 3.2))[0]
    order = sorted(range(len(small["read"])),
                   key=lambda i: max(range(3), key=lambda f: abs(small["read"][i][f])))  # fmt: skip
    for axes, key, title in zip(
        left.subplots(2, 1), ("read", "write"), ("6 neurons read", "and write"), strict=True
    ):
        heat_map(axes, [[small[key][i][f] for i in order] for f in range(3)])
        axes.set_title(title)
        axes.set_ylabel("3 features")
    for axes, row in zip(right.subplots(len(rows), 1), rows, strict=True):
        ranked = sorted(row["shares"], key=lambda shares: -max(shares))
        _stacks(axes, ranked, 0.06)
        axes.set(yticks=[], ylim=(0, 1))
        axes.set_ylabel(f"{row['density']:g}", rotation=0, ha="right", va="center")
    right.suptitle("40 neurons, by density: shares of features".replace("40", str(len(ranked))),
                   color=MUTED, fontsize=10)  # fmt: skip
