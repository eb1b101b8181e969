"""Freedom as a claim: how many directions a normalised stream has, measured in toys and in models."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from monosemy.foundation.errors import refuse
from monosemy.foundation.progress import SILENT, Progress
from monosemy.models.loading import SPECIMEN
from monosemy.models.norms import LayerNorm, make
from monosemy.recipes.laboratory.model_freedom import POINTS, measure_model
from monosemy.reports import freedom as reports
from monosemy.reports.laboratory import Picture
from monosemy.superposition.claims import MEASURED, NULL, PLANTED, Claim, Finding
from monosemy.superposition.freedom import (
    jacobian_rank,
    jacobian_values,
    span,
    two_nn,
    unselectable,
)
from monosemy.tensors.compute import Compute

KINDS = ("none", "layernorm", "rmsnorm", "divisive", "learned pools")
EPS = 1e-5
"""That LayerNorm and RMSNorm of models have; measured apart from the pure forms."""
# Tolerances, fixed beforehand.
HULL, HULL_SHARES = 0.05, {4: 0.48, 8: 0.017}
"""Shares of 60 random keys inside the hull of the others, by dimensions, and how near is near."""
TWO_NN = 0.1
_WIDEST = 4096
KEYS = 60
"""In a set; the reference shares are about so many."""


def even_pools(width: int, most: int = 8) -> int:
    """The most pools of equal size and two axes or more, up to `most`.

    >>> even_pools(64), even_pools(12), even_pools(7)
    (8, 6, 1)
    """
    return max((p for p in range(1, min(most, width // 2) + 1) if width % p == 0), default=1)


@dataclass(frozen=True)
class FreedomConfig:
    """What is measured."""

    width: int = 64
    """Axes of the toy's stream."""
    pools: int = 8
    """Of the divisive norms."""
    sigma: float = 0.0
    """Of the divisive norms; above 0 their radii are free again."""
    draws: int = 5
    """Sets of random keys."""
    keys: int = KEYS
    """Keys in a set; those of the reference are 60."""
    model: str = ""
    """A model whose norms are measured too; none for none."""
    site: str = ""
    """One of its norms by module path, or any site of its stream; every norm where it is empty."""
    text: str = "stdlib"
    """What the model reads."""
    tokens: int = 4096
    """How many of it."""

    def __post_init__(self) -> None:
        reasons = []
        if self.width < 3:
            reasons.append(f"width = {self.width}; wanted at least 3")
        elif self.width > _WIDEST:
            reasons.append(
                f"width = {self.width:,}; wanted at most {_WIDEST:,}: a Jacobian is its square"
            )
        elif self.pools < 1 or self.width % self.pools:
            reasons.append(f"pools = {self.pools} do not divide width = {self.width}")
        elif self.width // self.pools < 2:
            reasons.append(
                f"pools = {self.pools} of one axis each: nothing but its sign would be left"
            )
        if self.sigma < 0:
            reasons.append(f"sigma = {self.sigma}; wanted at least 0")
        if self.draws < 1:
            reasons.append(f"draws = {self.draws}; wanted at least 1")
        if self.keys < 2:
            reasons.append(f"keys = {self.keys}; wanted at least 2")
        if self.site and not self.model:
            reasons.append(f"site = {self.site!r} without a model; say --model too")
        refuse(reasons, "this measurement of freedom")


@dataclass(frozen=True)
class Freedom:
    """What was measured.

    Attributes
    ----------
    toys : norm -> ``{span, intrinsic, n}``.
    values : norm -> singular values of its Jacobian at one point, as shares of the largest.
    keys : dimensions -> norm -> share of random keys that no query can prefer.
    sphere : TwoNN's estimate of a planted sphere of five dimensions.
    leak : ``(measured, formula)`` of the radial singular value of LayerNorm with `EPS`.
    norms : of the model, each with its numbers.
    head_keys : of the model, a layer each.
    """

    config: FreedomConfig
    toys: dict[str, dict[str, int]]
    values: dict[str, list[float]]
    keys: dict[int, dict[str, float]]
    sphere: float
    leak: tuple[float, float]
    norms: list[dict[str, Any]] = field(default_factory=list)
    head_keys: list[dict[str, Any]] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Norms by name, and beside them ``width``, ``unselectable_keys``, ``model``, ..."""
        return {
            **self.toys,
            "width": self.config.width,
            "pools": self.config.pools,
            "unselectable_keys": {
                "keys": self.config.keys, "draws": self.config.draws,
                "share": {str(d): shares for d, shares in self.keys.items()},
            },
            "epsilon": {"eps": EPS, "radial_value": self.leak[0], "formula": self.leak[1]},
            "planted_sphere": {"dimensions": 5, "two_nn": self.sphere},
            "model": {"name": self.config.model, "norms": self.norms,
                      "head_keys": self.head_keys} if self.norms else None,
        }  # fmt: skip


def measure_freedom(
    config: FreedomConfig, compute: Compute, progress: Progress = SILENT
) -> Freedom:
    """Toys, keys, and the norms of `config.model` where one is named.

    Errors
    ------
    `UserError` for settings that cannot be, an unknown model or site, and too few tokens.
    """
    norms, head_keys = list[dict[str, Any]](), list[dict[str, Any]]()
    if config.model:
        norms, head_keys = measure_model(
            config.model, config.site, config.text, config.tokens, compute, progress
        )
    toys, values = _toys(config, compute)
    keys = _keys(config, compute, progress)
    return Freedom(
        config, toys, values, keys, _sphere(compute), _leak(config, compute), norms, head_keys
    )


# --- toys ----------------------------------------------------------------------------------------


def _toys(
    config: FreedomConfig, compute: Compute
) -> tuple[dict[str, dict[str, int]], dict[str, list[float]]]:
    draw = compute.generator("streams")
    points = torch.randn(4 * config.width, config.width, generator=draw).double()
    toys, values = {}, {}
    for kind in KINDS:
        made = make(kind, config.width, config.pools, config.sigma, eps=0.0,
                    draw=compute.generator("pools")).double()  # fmt: skip
        normalise = made.normalised
        with torch.no_grad():
            width = span(normalise(points))
        ranks = {jacobian_rank(normalise, point) for point in points[:POINTS]}
        # Where points disagree, the surface's dimension is the largest.
        toys[kind] = {"span": width, "intrinsic": max(ranks), "n": len(points)}
        found = jacobian_values(normalise, points[0])
        values[kind] = (found / found.max()).tolist()
    return toys, values


def _keys(
    config: FreedomConfig, compute: Compute, progress: Progress
) -> dict[int, dict[str, float]]:
    found: dict[int, dict[str, float]] = {}
    draw = compute.generator("keys")
    with progress.task("keys", len(HULL_SHARES) * config.draws, "sets") as task:
        for width in HULL_SHARES:
            pure = {"none": make("none", width), "layernorm": make("layernorm", width, eps=0.0),
                    "rmsnorm": make("rmsnorm", width, eps=0.0),
                    "divisive": make("divisive", width, pools=2, sigma=0.0)}  # fmt: skip
            sums = dict.fromkeys(pure, 0.0)
            for _ in range(config.draws):
                keys = torch.randn(config.keys, width, generator=draw).double()
                for kind, norm in pure.items():
                    sums[kind] += float(unselectable(norm.normalised(keys)).double().mean())
                task.advance()
            found[width] = {kind: total / config.draws for kind, total in sums.items()}
    return found


def _sphere(compute: Compute) -> float:
    """TwoNN of a sphere of five dimensions that lies in 32 axes."""
    draw = compute.generator("a sphere")
    ball = torch.nn.functional.normalize(torch.randn(3000, 6, generator=draw).double(), dim=1)
    frame = torch.linalg.qr(torch.randn(32, 6, generator=draw).double())[0]
    return two_nn(ball @ frame.T)


def _leak(config: FreedomConfig, compute: Compute) -> tuple[float, float]:
    """Along a centred z the derivative of LayerNorm is ``eps / (var + eps)`` of the others."""
    z = torch.randn(config.width, generator=compute.generator("a point")).double()
    values = jacobian_values(LayerNorm(config.width, EPS).double().normalised, z)
    var = float(z.var(unbiased=False))
    return float(values[config.width - 2] / values[0]), EPS / (var + EPS)


# --- the page ------------------------------------------------------------------------------------


def examine(compute: Compute, progress: Progress = SILENT) -> tuple[Claim, list[Picture]]:
    """At widths 16 and 64, and in the specimen."""
    config = FreedomConfig(model=SPECIMEN)
    found = measure_freedom(config, compute, progress)
    small = FreedomConfig(width=16, pools=4)
    toys, _ = _toys(small, compute)
    return claim_of(found, compute, {16: (toys, 4)}), [picture(found)]


def expected(width: int, pools: int) -> dict[str, tuple[int, int]]:
    """Norm -> span and intrinsic dimension, without eps and sigma."""
    return {
        "none": (width, width), "layernorm": (width - 1, width - 2), "rmsnorm": (width, width - 1),
        "divisive": (width, width - pools), "learned pools": (width, width - 1),
    }  # fmt: skip


def claim_of(
    found: Freedom, compute: Compute, others: dict[int, tuple[dict[str, dict[str, int]], int]]
) -> Claim:
    """The findings; `others` are toys of more widths, each with its pools."""
    config = found.config
    sizes = {**others, config.width: (found.toys, config.pools)}
    toys = [one for width, (of, pools) in sizes.items()
            for one in _of_toys(of, width, pools, config.sigma)]  # fmt: skip
    return Claim(
        "freedom", "Freedom of a normalised stream",
        "LayerNorm leaves a stream of d axes a sphere of d - 2 dimensions inside a subspace of d - 1; "
        "RMSNorm a sphere of d - 1; a norm in P separate pools d - P. On a sphere every key can be "
        "chosen.",
        "Brody, Alon and Yahav 2023 (arXiv 2305.02582); Gupta et al. 2024 (arXiv 2409.12951); Facco et "
        "al. 2017 (Scientific Reports 7, 12140); Carandini and Heeger 2012.",
        "*Span*: rank of the outputs of random streams. *Intrinsic dimension*: rank of the norm's "
        f"Jacobian at {POINTS} points, in double precision, singular values above 1e-9 of the "
        "largest; eps and sigma are 0, because any eps opens the radius again, a little. *Keys*: a "
        "linear program for each random key asks whether it is a convex combination of the others; "
        f"then no query prefers it. The reference shares are met within {HULL:.0%} of all keys. "
        "Nothing is left out where nothing normalises, which is the null. Planted: a sphere of five "
        f"dimensions in 32 axes for TwoNN, met within {TWO_NN:.0%}. *In the model*: what enters each "
        "of its norms on text, through the norm without its gain.",
        [*toys, *_of_rest(found), *_of_norms(found)],
        _words(found),
        ["monosemy lab freedom --width 64 --json",
         "monosemy lab freedom --model specimen --out runs/freedom"],
        {"seed": compute.seed, "pools": config.pools, "sets of keys": config.draws,
         "tokens of the model": config.tokens},
    )  # fmt: skip


def _of_toys(
    toys: dict[str, dict[str, int]], width: int, pools: int, sigma: float
) -> list[Finding]:
    findings = []
    for kind, (wide, deep) in expected(width, pools).items():
        if sigma and kind in ("divisive", "learned pools"):
            deep = width
        one, n = toys[kind], f"{toys[kind]['n']} points"
        sort = NULL if kind == "none" else "reference"
        name = f"{kind}, {pools} pools" if kind in ("divisive", "learned pools") else kind
        findings += [
            Finding(f"span of {width} axes: {name}", one["span"], n, wide, sort, one["span"] == wide),
            Finding(f"intrinsic dimension: {name}", one["intrinsic"], f"{POINTS} points", deep, sort,
                    one["intrinsic"] == deep),
        ]  # fmt: skip
    return findings


def _of_rest(found: Freedom) -> list[Finding]:
    findings = []
    n = f"{found.config.draws} sets of {found.config.keys} keys"
    known = found.config.keys == KEYS
    for width, share in HULL_SHARES.items():
        ours = found.keys[width]
        findings.append(Finding(
            f"keys that no query can prefer, {width} axes, raw", ours["none"], n,
            share if known else "", holds=abs(ours["none"] - share) <= HULL if known else None,
        ))  # fmt: skip
        for kind in ("layernorm", "rmsnorm", "divisive"):
            findings.append(Finding(f"the same after {kind}", ours[kind], n, 0.0,
                                    holds=ours[kind] == 0))  # fmt: skip
    measured, formula = found.leak
    findings.append(Finding(
        f"LayerNorm with eps {EPS:g}: radial singular value, by the largest", measured, "1 point",
        formula, holds=abs(measured / formula - 1) < 1e-6,
    ))  # fmt: skip
    findings.append(Finding(
        "TwoNN of a planted sphere of 5 dimensions", found.sphere, "3,000 points", 5, PLANTED,
        abs(found.sphere / 5 - 1) <= TWO_NN,
    ))  # fmt: skip
    return findings


def _of_norms(found: Freedom) -> list[Finding]:
    findings = []
    for one in found.norms:
        n = f"{one['n']:,} tokens"
        wide, deep = (one["width"] - 1, one["width"] - 2) if one["kind"] == "LayerNorm" else (
            one["width"], one["width"] - 1)  # fmt: skip
        name = f"{found.config.model}, {one['norm']}"
        findings += [
            Finding(f"{name}: span of outputs", one["span"], n, wide, holds=one["span"] == wide),
            Finding("its intrinsic dimension", one["intrinsic"], f"{POINTS} tokens", deep,
                    holds=one["intrinsic"] == deep),
            Finding("its participation ratio, of the axes", one["participation"] / one["width"], n,
                    kind=MEASURED),
            Finding("its TwoNN dimension", one["two_nn"], n, kind=MEASURED),
            Finding("energy along the vector of ones before it", one["along_ones"], n,
                    f"{1 / one['width']:.4f} at random", MEASURED),
        ]  # fmt: skip
    for one in found.head_keys:
        n = f"{one['keys']} keys in {one['heads']} heads of {one['head_width']} axes"
        findings.append(Finding(
            f"{found.config.model}, {one['projection']}: keys that no query of their head prefers",
            one["unselectable"], n, kind=MEASURED,
        ))  # fmt: skip
    return findings


def _words(found: Freedom) -> str:
    words = (
        "Saying that LayerNorm costs one degree of freedom (12,287 of GPT-3's 12,288) counts the "
        "subspace; the sphere inside it has one dimension less. Separate pools cost one each while "
        "sigma is 0, and none with sigma above it; learned pools overlap, so that only their common "
        "scale is lost. Two dimensions of many are little: what a model uses is far less, by its "
        "participation ratio, and TwoNN, which finds too few rather than too many, sees a surface of "
        "still fewer dimensions. What the sphere buys is that no key hides behind others, "
        "which matters in few dimensions only."
    )
    if found.norms:
        widest = max(found.norms, key=lambda one: one["participation"] / one["width"])
        words += (
            f" In {found.config.model} at most {widest['participation'] / widest['width']:.0%} of the "
            "axes carry the variance that goes through a norm."
        )
    return words


def picture(found: Freedom) -> Picture:
    """Singular values of the Jacobians, and the keys."""
    data = {
        "width": found.config.width, "values": found.values,
        "keys": {str(width): shares for width, shares in found.keys.items()},
        "norms": found.norms,
    }  # fmt: skip
    caption = (
        "Left: singular values of each norm's Jacobian; those at the bottom are rounding, and each is "
        "a direction that is lost. Right: random keys that no query can prefer, raw and normalised."
    )
    return Picture("freedom-values", caption, reports.svg(data), data)
