"""Numbers of an allocation study: means over seeds, paired differences, verdicts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from monosemy.growth.burden import reach

Report = Mapping[str, Any]

# What is measured, in words, and whether less of it is less burden.
MEASURES: dict[str, tuple[str, bool]] = {
    "axis": ("R² from the best single axis", False),
    "axes": ("R² from the best 8 axes", False),
    "subspace": ("R² from 8 dimensions, any", False),
    "whole": ("R² from the whole stream", False),
    "interference": ("noise from others / signal squared", True),
    "weights": ("weights that read it", True),
    "strength": ("strength with which it is read", True),
    "curvature_features": ("curvature along features", True),
    "curvature_parameters": ("curvature, all parameters", True),
}


def numbers_of(burden: Report) -> dict[str, float]:
    """A burden by the names of `MEASURES`."""
    read = burden["decodability"]
    return {
        "axis": read["axes"][0],
        "axes": read["axes"][-1],
        "subspace": read["subspace"][-1],
        "whole": read["whole"],
        "interference": burden["interference"],
        "weights": burden["reading_weights"],
        "strength": burden["reading_strength"],
        "curvature_features": burden["curvature_features"],
        "curvature_parameters": burden["curvature_parameters"],
    }


def arm_names(found: Report, count: str) -> list[str]:
    """Arms in the order in which they are shown."""
    return [*found["results"][count]["arms"], "continued"]


def summary(found: Report, count: str) -> list[tuple[str, dict[str, str]]]:
    """Rows (what, {arm: number}) of one number of features."""
    arms = found["results"][count]["arms"]
    rows = []
    for key, (words, _) in MEASURES.items():
        cells = {
            name: said(mean([numbers_of(one["burden"])[key] for one in ones]))
            for name, ones in arms.items()
        }
        rows.append((words, cells))
    trained = {name: ones for name, ones in arms.items() if name != "before"}
    trained["continued"] = found["continued"]
    rows.append(("parameters", {n: f"{ones[0]['parameters']:,}" for n, ones in trained.items()}))
    rows.append(("loss after training", {n: f"{mean(finals(o)):.4f}" for n, o in trained.items()}))
    base = finals(trained["widened"])
    against = {
        name: interval_said([a - b for a, b in zip(finals(ones), base, strict=True)])
        for name, ones in trained.items()
        if name != "widened"
    }
    rows.append(("  against wider, nothing assigned", against))
    levels = finals(trained["continued"])
    reached = {
        name: tokens_said(
            [
                reach([(p["tokens"], p["heldout"]) for p in one["curve"]], level)
                for one, level in zip(ones, levels, strict=True)
            ]
        )
        for name, ones in trained.items()
    }
    rows.append(("tokens to the loss that it ends with as it is", reached))
    return rows


def finals(ones: Sequence[Report]) -> list[float]:
    """The last held-out loss of each seed."""
    return [one["curve"][-1]["heldout"] for one in ones]


def mean(values: Sequence[float]) -> float:
    """Their mean."""
    return sum(values) / len(values)


def interval(values: Sequence[float]) -> tuple[float, float]:
    """95 % of the mean by Student's t; infinite for a single value."""
    if len(values) < 2:
        return -math.inf, math.inf
    from scipy import stats

    centre = mean(values)
    deviation = math.sqrt(sum((v - centre) ** 2 for v in values) / (len(values) - 1))
    half = float(stats.t.ppf(0.975, len(values) - 1)) * deviation / math.sqrt(len(values))
    return centre - half, centre + half


def interval_said(values: Sequence[float]) -> str:
    """Mean and interval of differences."""
    low, high = interval(values)
    if math.isinf(low):
        return f"{mean(values):+.4f}"
    return f"{mean(values):+.4f} [{low:+.4f}, {high:+.4f}]"


def tokens_said(reached: Sequence[float | None]) -> str:
    """Mean over seeds, or how many never came there."""
    there = [tokens for tokens in reached if tokens is not None]
    if len(there) == len(reached):
        return f"{mean(there):,.0f}"
    return f"{len(there)} of {len(reached)} seeds" + (f": {mean(there):,.0f}" if there else "")


def said(value: float | None) -> str:
    """A number with three figures."""
    if value is None:
        return "–"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def verdicts(found: Report) -> tuple[str, str, list[str]]:
    """Whether burden is less and learning easier than with the same parameters unassigned.

    *Less burden*: in every count and seed the own axes are read better, from one axis and from the
    whole stream, with less noise, than the wider model. *Easier*: the interval of the difference of
    the last losses, own axes minus wider model, lies below 0.
    """
    less, easier, words = [], [], []
    for count in map(str, found["counts"]):
        arms = found["results"][count]["arms"]
        own, wide = (
            [numbers_of(one["burden"]) for one in arms[name]] for name in ("allocated", "widened")
        )
        better = all(
            a["axis"] > b["axis"]
            and a["whole"] > b["whole"]
            and a["interference"] < b["interference"]
            for a, b in zip(own, wide, strict=True)
        )
        less.append(better)
        differences = [
            a - b for a, b in zip(finals(arms["allocated"]), finals(arms["widened"]), strict=True)
        ]
        low, high = interval(differences)
        easier.append(-1 if high < 0 else 1 if low > 0 else 0)
        where = {-1: "lower", 0: "not told apart", 1: "higher"}[easier[-1]]
        words.append(
            f"{count} features: R² from one axis {_pair(own, wide, 'axis')}, from the whole stream "
            f"{_pair(own, wide, 'whole')}, noise {_pair(own, wide, 'interference')}, weights that read "
            f"{_pair(own, wide, 'weights')} (own axes against the wider model); loss after training "
            f"{where} ({interval_said(differences)})."
        )
    burden = "holds" if all(less) else "holds in part" if any(less) else "does not hold"
    if all(one < 0 for one in easier):
        learning = "holds"
    elif any(one < 0 for one in easier):
        learning = "holds in part"
    else:
        learning = "does not hold"
    return burden, learning, words


def _pair(own: Sequence[Report], wide: Sequence[Report], key: str) -> str:
    return (
        f"{said(mean([one[key] for one in own]))} against {said(mean([one[key] for one in wide]))}"
    )
