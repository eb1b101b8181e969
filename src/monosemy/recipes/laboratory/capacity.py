"""Capacity as a claim: how many features fit, by calculators, and experiments that meet them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from monosemy.foundation.errors import refuse
from monosemy.foundation.progress import SILENT, Progress
from monosemy.models.loading import SPECIMEN
from monosemy.recipes.laboratory.model_capacity import measure_model
from monosemy.reports import capacity as reports
from monosemy.reports.laboratory import Picture
from monosemy.superposition import capacity
from monosemy.superposition.claims import MEASURED, NULL, PLANTED, Claim, Finding
from monosemy.superposition.recovery import (
    DECODERS,
    RecoveryConfig,
    exact,
    half_point,
    measure_recovery,
    mixtures,
    random_directions,
    wilson,
)
from monosemy.tensors.compute import Compute

# Tolerances, all fixed beforehand.
OVERLAP, SLOPE = 0.02, 0.02  # of the mean squared overlap, and of its exponent
MEETS = 0.08  # between the chance of one shot by formula and as drawn
EXACT = 1e-12
OVERLAPS = (16, 32, 64, 128, 256, 512)
_CODE = (64, 0.5, 0.2)  # axes, tolerance and chance of failure of the random codes that are drawn
_CODES = 300
WIDTHS = (16, 32, 64, 128, 256, 512, 768, 1024, 2048, 4096, 12288)
"""Of the figure of how many fit."""


@dataclass(frozen=True)
class CapacityConfig:
    """What is asked of the calculators, and the size of the experiment."""

    width: int = 512
    """Axes."""
    features: int = 4096
    """How many are wanted."""
    k: int = 15
    """Active at once."""
    tolerance: float = 0.2
    """Largest |cos| of two directions that still count as almost orthogonal."""
    failure: float = 0.01
    """Chance that a random code is worse than that."""
    success: float = 0.5
    """Chance that a readout finds all active features."""
    recovery: RecoveryConfig = field(default_factory=RecoveryConfig)
    """Of the experiment."""

    def __post_init__(self) -> None:
        reasons = [f"{name} = {value:,}; wanted at least {least}" for name, value, least in (
            ("width", self.width, 2), ("features", self.features, 2), ("k", self.k, 1),
        ) if value < least]  # fmt: skip
        if self.k > self.width:
            reasons.append(f"k = {self.k:,} active in {self.width:,} axes; wanted at most so many")
        reasons += [f"{name} = {value}; wanted between 0 and 1" for name, value in (
            ("tolerance", self.tolerance), ("failure", self.failure), ("success", self.success),
        ) if not 0 < value < 1]  # fmt: skip
        refuse(reasons, "this question of capacity")


@dataclass(frozen=True)
class Measured:
    """What the experiments found.

    Attributes
    ----------
    recovery : decoder -> share of supports found exactly, from one active feature up.
    formula : the same of one shot, by formula.
    overlaps : axes -> mean squared overlap of random directions.
    failures : share of `codes` random codes with a pair beyond the tolerance, each of `code`
        directions.
    orthogonal : decoder -> share found exactly where directions are orthogonal.
    """

    recovery: dict[str, list[float]]
    formula: list[float]
    overlaps: dict[int, float]
    failures: float
    codes: int
    code: int
    orthogonal: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """Everything, with half points."""
        return {
            "recovery": self.recovery, "one_shot_by_formula": self.formula,
            "half_points": {name: half_point(shares) for name, shares in self.recovery.items()},
            "overlaps": {str(width): value for width, value in self.overlaps.items()},
            "random_codes": {"directions": self.code, "failures": self.failures, "codes": self.codes},
            "orthogonal": self.orthogonal,
        }  # fmt: skip


def calculate(config: CapacityConfig) -> dict[str, Any]:
    """How many fit, by each calculator; logarithms to base ten where numbers are too large to read.

    ``log10_features`` is what the bound allows; ``fits`` whether the features that were asked for do.
    """
    wanted = math.log10(config.features)
    d, k = config.width, config.k
    found = {
        "almost_orthogonal_at_most": capacity.welch_limit(d, config.tolerance),
        "random_code": capacity.random_code(d, config.tolerance, config.failure),
        "compressed_sensing": capacity.compressed_sensing(d, k),
        "linear_readout": _log10(capacity.features_for_one_shot(d, k, config.success)),
    }
    return {
        "width": d, "features": config.features, "k": k, "tolerance": config.tolerance,
        "failure": config.failure, "success": config.success,
        "smallest_largest_overlap": capacity.welch(config.features, d),
        "mean_squared_overlap_at_random": 1 / d,
        "one_shot": capacity.one_shot(config.features, d, k),
        "most_active_by_readout": capacity.active_for_one_shot(config.features, d, config.success),
        **{name: {"log10_features": None if math.isinf(value) else value, "fits": wanted <= value}
           for name, value in found.items()},
    }  # fmt: skip


def experiment(config: CapacityConfig, compute: Compute, progress: Progress = SILENT) -> Measured:
    """Draw dictionaries and codes, and see what the calculators foretold."""
    recovery = measure_recovery(config.recovery, compute, progress)
    size = config.recovery
    formula = [capacity.one_shot(size.features, size.width, k) for k in range(1, size.most + 1)]
    draw = compute.generator("overlaps")
    overlaps = {
        width: capacity.mean_squared_overlap(random_directions(2000, width, draw))
        for width in OVERLAPS
    }
    width, tolerance, failure = _CODE
    code = round(10 ** capacity.random_code(width, tolerance, failure))
    draw = compute.generator("random codes")
    beyond = [capacity.largest_overlap(random_directions(code, width, draw)) > tolerance
              for _ in range(_CODES)]  # fmt: skip
    return Measured(
        recovery,
        formula,
        overlaps,
        sum(beyond) / _CODES,
        _CODES,
        code,
        _orthogonal(config, compute),
    )


def _orthogonal(config: CapacityConfig, compute: Compute) -> dict[str, float]:
    draw = compute.generator("orthogonal directions")
    size, k = config.recovery.width, min(config.recovery.most, config.recovery.width // 2)
    W = torch.linalg.qr(random_directions(size, size, draw))[0]
    x, active = mixtures(W, k, 100, draw)
    return {name: exact(decode(x, W, k), active) for name, decode in DECODERS.items()}


def examine(compute: Compute, progress: Progress = SILENT) -> tuple[Claim, list[Picture]]:
    """At the settings of the page."""
    config = CapacityConfig()
    found = experiment(config, compute, progress)
    matrices = measure_model(SPECIMEN, compute, progress)
    return claim_of(config, found, compute, matrices), pictures(config, found)


def claim_of(
    config: CapacityConfig, found: Measured, compute: Compute,
    matrices: Sequence[dict[str, Any]] = (), model: str = SPECIMEN,
) -> Claim:  # fmt: skip
    """The findings, and what follows; `matrices` of `model` as `measure_model` gives them."""
    size = config.recovery
    return Claim(
        "capacity", "Capacity of a stream",
        "Exponentially many directions are almost orthogonal, and a search finds which of them are "
        "active; a single linear readout, as a next layer has, can tell far fewer apart, and so is the "
        "limit.",
        "Scherlis et al. 2022 (arXiv 2210.01892); Elhage et al. 2022 (arXiv 2209.10652); Welch 1974 "
        "(IEEE Trans. Inf. Theory 20); Johnson and Lindenstrauss 1984; Donoho and Tanner 2009 (Phil. "
        "Trans. R. Soc. A 367); Gregor and LeCun 2010; Pati et al. 1993.",
        f"*Recovery*: {size.dictionaries} random dictionaries of {size.features} features in "
        f"{size.width} axes; {size.samples} sums of k features each, all with activation one, for k to "
        f"{size.most}; the share whose support is found exactly, k given. The formula for one shot has "
        f"to be met within {MEETS} at every k. The null decodes with another dictionary; planted are "
        "orthogonal directions, of which all must be found. *Overlaps*: 2,000 random directions. "
        f"*Random codes*: {_CODES} of as many directions as the calculator allows for {_CODE[0]} axes, "
        f"|cos| to {_CODE[1]} and a chance of failure of {_CODE[2]}; failures may not be more than "
        "that, by the lower end of their interval. *Capacities*: of a model's matrices, beside as many "
        "random rows; what is shared by all rows (a mean) leaves the rest less.",
        [*_of_capacity(), *_of_overlaps(found), *_of_codes(found), *_of_recovery(config, found),
         *_of_matrices(matrices, model)],
        _words(config, found),
        ["monosemy lab capacity --width 512 --features 4096 --k 15",
         "monosemy lab capacity --model specimen --out runs/capacity"],
        {"seed": compute.seed, "features": size.features, "width": size.width,
         "dictionaries": size.dictionaries, "samples": size.samples},
    )  # fmt: skip


def polygon(corners: int) -> torch.Tensor:
    """Directions of a regular polygon: a tight frame of two dimensions."""
    turn = 2 * math.pi * torch.arange(corners, dtype=torch.float64) / corners
    return torch.stack([turn.cos(), turn.sin()], dim=1)


def simplex(width: int) -> torch.Tensor:
    """``width + 1`` directions, all at the same angle: as spread as can be."""
    corners = torch.eye(width + 1, dtype=torch.float64) - 1 / (width + 1)
    basis = torch.linalg.svd(corners)[2][:width]
    return torch.nn.functional.normalize(corners @ basis.T, dim=1)


def _of_capacity() -> list[Finding]:
    findings = []
    for name, rows, each in (
        ("pair", torch.tensor([[1.0], [-1.0]], dtype=torch.float64), 1 / 2),
        ("triangle", polygon(3), 2 / 3), ("pentagon", polygon(5), 2 / 5),
        ("tetrahedron", simplex(3), 3 / 4),
    ):  # fmt: skip
        ours = capacity.capacities(rows)
        off = float((ours - each).abs().max() + (ours.sum() - rows.shape[1]).abs())
        findings.append(Finding(f"capacity of each feature of a {name}", float(ours.mean()),
                                f"{len(rows)} features", each, holds=off < EXACT))  # fmt: skip
    bound, largest = capacity.welch(9, 8), capacity.largest_overlap(simplex(8))
    findings.append(Finding("largest overlap of a simplex in 8 axes", largest, "9 directions", bound,
                            holds=abs(largest - bound) < EXACT))  # fmt: skip
    return findings


def _of_overlaps(found: Measured) -> list[Finding]:
    slope = float(
        np.polyfit(np.log(list(found.overlaps)), np.log(list(found.overlaps.values())), 1)[0]
    )
    worst = max(abs(value * width - 1) for width, value in found.overlaps.items())
    n = f"{len(found.overlaps)} widths of 2,000 directions"
    return [
        Finding("mean squared overlap of random directions times axes, farthest from 1", worst, n,
                f"at most {OVERLAP}", holds=worst <= OVERLAP),
        Finding("its exponent in the axes", slope, n, -1, holds=abs(slope + 1) <= SLOPE),
    ]  # fmt: skip


def _of_codes(found: Measured) -> list[Finding]:
    low, high = wilson(found.failures, found.codes)
    return [Finding(
        f"random codes of {found.code} directions with a pair beyond {_CODE[1]}", found.failures,
        f"{found.codes} codes", f"at most {_CODE[2]}", holds=low <= _CODE[2], low=low, high=high,
    )]  # fmt: skip


def _of_recovery(config: CapacityConfig, found: Measured) -> list[Finding]:
    size = config.recovery
    n = f"{size.dictionaries * size.samples} mixtures at each of {size.most} k"
    halves = {name: half_point(found.recovery[name]) for name in DECODERS}
    one, step, search = halves.values()
    against = _against_the_order(found)
    gap = max(abs(a - b) for a, b in zip(found.formula, found.recovery["one shot"], strict=True))
    # A single active feature is found by chance once in as many times as there are features.
    null = max(found.recovery["another dictionary"][1:], default=0.0)
    worst = min(found.orthogonal.values())
    limit = size.width / (2 * math.log(size.features / size.width))
    return [
        Finding("active features of which half the supports are found: one shot", one, n,
                "fewest", holds=one < step),
        Finding("the same, one LISTA step", step, n, "more", holds=one < step < search),
        Finding("the same, matching pursuit", search, n, "most", holds=step < search),
        Finding("numbers of active features at which a later decoder finds fewer", len(against), n, 0,
                holds=not against),
        Finding("matching pursuit stays below the threshold of compressed sensing", search, n,
                f"at most {limit:.4g}", holds=search <= limit),
        Finding("one shot, by formula: farthest from what was drawn", gap, n, f"at most {MEETS}",
                holds=gap <= MEETS),
        Finding("supports of two or more found with another dictionary", null, n,
                0.0, NULL, null == 0),
        Finding("supports found of orthogonal directions, worst decoder", worst, "100 mixtures", 1.0,
                PLANTED, worst == 1),
    ]  # fmt: skip


def _of_matrices(matrices: Sequence[dict[str, Any]], model: str) -> list[Finding]:
    findings = []
    for one in matrices:
        name, n = f"{model}, {one['matrix']}", f"{one['rows']:,} rows of {one['width']}"
        findings += [
            Finding(f"{name}: sum of capacities", one["sum"], n, f"at most {one['width']}",
                    holds=one["sum"] <= one["width"] * (1 + 1e-9)),
            Finding("its share of the axes", one["share"], n,
                    f"{one['random_share']:.3f} for random rows", MEASURED),
            Finding("its mean squared overlap times axes", one["overlap"], n, "1 for random rows",
                    MEASURED),
        ]  # fmt: skip
    return findings


def _against_the_order(found: Measured) -> list[str]:
    """Where a decoder that works more finds fewer supports, in words."""
    return [
        f"at k = {k} {b} finds {y:.1%}, {a} {x:.1%}"
        for a, b in zip(list(DECODERS)[:-1], list(DECODERS)[1:], strict=True)
        for k, (x, y) in enumerate(zip(found.recovery[a], found.recovery[b], strict=True), start=1)
        if x > y
    ]


def _words(config: CapacityConfig, found: Measured) -> str:
    one, step, search = (half_point(found.recovery[name]) for name in DECODERS)
    size, sums = config.recovery, calculate(config)
    against = "; ".join(_against_the_order(found))
    few, many = (capacity.random_code(width, config.tolerance, config.failure)
                 for width in (config.width, WIDTHS[-1]))  # fmt: skip
    strict = f"The order is not strict everywhere ({against}): greedy choices can err first. "
    best, readout = (_count(sums[name]["log10_features"])
                     for name in ("compressed_sensing", "linear_readout"))  # fmt: skip
    return (
        f"Of {size.features} features in {size.width} axes a linear readout finds about {one:.1f} that "
        f"are active together, one further step {step:.1f}, a search {search:.1f}: what is stored is "
        f"not the limit, what is read at once is. {strict if against else ''}By the sums, "
        f"{config.width:,} axes hold {best} features for the best decoder at {config.k} active, and "
        f"{readout} for a readout that is right half of the time. Exponential growth needs many axes "
        f"before it pays: {_count(few)} random directions are within |cos| {config.tolerance} of "
        f"orthogonal in {config.width:,} axes, and {_count(many)} in {WIDTHS[-1]:,}. Real features are "
        "neither random nor equally strong nor independent: correlated ones are worse and exclusive "
        "ones better than this, and a dictionary that has to be learned is a harder matter than one "
        "that is known."
    )


def pictures(config: CapacityConfig, found: Measured | None) -> list[Picture]:
    """How many fit; with an experiment, recovery beside its formula."""
    fits = {"tolerances": [0.1, 0.2, 0.4], "widths": list(WIDTHS), "failure": config.failure,
            "k": config.k, "success": config.success,
            "random_code": [[capacity.random_code(width, t, config.failure) for width in WIDTHS]
                            for t in (0.1, 0.2, 0.4)],
            "linear_readout": [_log10(capacity.features_for_one_shot(width, config.k, config.success))
                               for width in WIDTHS]}  # fmt: skip
    data = {
        "fits": fits,
        "overlaps": {str(w): o for w, o in found.overlaps.items()} if found else {},
    }
    made = [Picture(
        "capacity-fits",
        "Left: how many directions are almost orthogonal at random, and how many features a linear "
        f"readout can tell apart with {config.k} active. Right: mean squared overlap of random "
        "directions.",
        reports.fits_svg(data), data,
    )]  # fmt: skip
    if found:
        size = config.recovery
        curves = {
            "recovery": found.recovery, "formula": found.formula, "features": size.features,
            "width": size.width, "n": size.dictionaries * size.samples,
            "limit": size.width / (2 * math.log(size.features / size.width)),
        }  # fmt: skip
        made.append(Picture(
            "capacity-recovery",
            f"Supports found exactly, of {size.features} features in {size.width} axes. Bands are 95 % "
            "intervals; the dashed line is the formula, the dotted one compressed sensing's threshold.",
            reports.recovery_svg(curves), curves,
        ))  # fmt: skip
    return made


def _count(log10: float) -> str:
    return f"{10**log10:,.0f}" if log10 < 9 else f"10^{log10:.1f}"


def _log10(number: int) -> float:
    return math.log10(number) if number > 0 else 0.0


def rows_of(sums: dict[str, Any]) -> Sequence[tuple[str, str, str]]:
    """What `calculate` found: question, answer, condition."""

    def many(name: str) -> str:
        value = sums[name]["log10_features"]
        return "no bound" if value is None else _count(value)

    d, k, t = sums["width"], sums["k"], sums["tolerance"]
    return [
        ("almost orthogonal, at most", many("almost_orthogonal_at_most"), f"|cos| <= {t}, Welch"),
        ("almost orthogonal, at random", many("random_code"),
         f"|cos| <= {t}, but for a chance of {sums['failure']}"),
        ("told apart by the best decoder", many("compressed_sensing"),
         f"{k} active, Donoho and Tanner's law for many features"),
        ("told apart by one linear readout", many("linear_readout"),
         f"{k} active, all right with a chance of {sums['success']}"),
        (f"active among {sums['features']:,}, by one readout", f"{sums['most_active_by_readout']}",
         f"all right with a chance of {sums['success']}"),
        (f"{k} of {sums['features']:,} found by one readout", f"{sums['one_shot']:.3g}", "chance"),
        (f"largest overlap of {sums['features']:,}, at least",
         f"{sums['smallest_largest_overlap']:.3g}", "Welch"),
        ("mean squared overlap at random", f"{1 / d:.3g}", f"1 / {d}"),
    ]  # fmt: skip
