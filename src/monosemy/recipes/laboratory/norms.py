"""Local normalisation as a claim: what it keeps apart in a toy, and what it costs the specimen."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from monosemy.foundation.progress import SILENT, Progress
from monosemy.models.folding import centre_writers, fold
from monosemy.models.loading import SPECIMEN, load
from monosemy.models.norms import DivisiveNorm, make
from monosemy.recipes.laboratory.norm_models import (
    Learned,
    NormsConfig,
    compare_norms,
    settings,
    table,
)
from monosemy.reports import norms as reports
from monosemy.reports.laboratory import Picture
from monosemy.superposition.claims import MEASURED, NULL, PLANTED, Claim, Finding
from monosemy.superposition.crosstalk import (
    GAINS,
    TwoSubspaces,
    decoding_errors,
    learn_pools,
)
from monosemy.tensors.compute import Compute

# All fixed beforehand. Flat: largest error by smallest. Rising: error at gain 8 by that at 1.
FLAT, RISES = 1.05, 2.0
PURE, IMPURE = 0.95, 0.75
# A norm may cost so much of LayerNorm's held-out loss, at the upper end of the interval.
COSTS = 0.02
EXACT = 1e-12
_WIDTH, _SAMPLES, _SIGMA = 32, 4000, 0.1
# Two-sided 95 % points of Student's t, by degrees of freedom.
_T = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}


@dataclass(frozen=True)
class Toy:
    """What the toy showed.

    Attributes
    ----------
    other, own : norm -> decoding error at each of `GAINS`, of the other half's or the own one's.
    purity : of learned pools, a seed each; `before` of those they began with.
    """

    other: Mapping[str, Sequence[float]]
    own: Mapping[str, Sequence[float]]
    purity: Sequence[float]
    before: Sequence[float]

    def to_json(self) -> dict[str, Any]:
        """Everything, with the gains."""
        return {"gains": list(GAINS), "other": dict(self.other), "own": dict(self.own),
                "purity": list(self.purity), "purity_before": list(self.before)}  # fmt: skip


@dataclass(frozen=True)
class Norms:
    """The toy, the exactness of folds, and the models; `models` is empty where none was trained."""

    toy: Toy
    folded: float
    centred: float
    models: Sequence[Learned]

    def to_json(self) -> dict[str, Any]:
        """``{toy, folding, models, means}``."""
        return {
            "toy": self.toy.to_json(),
            "folding": {"gain_and_bias": self.folded, "writers_centred": self.centred},
            "models": table(self.models),
            "means": means(self.models) if self.models else {},
        }


def measure_norms(
    compute: Compute, config: NormsConfig | None, progress: Progress = SILENT
) -> Norms:
    """The toy and the folds; with a `config`, models trained under each norm too."""
    toy = _toy(compute, progress)
    folded, centred = _folds()
    return Norms(toy, folded, centred, compare_norms(config, compute, progress) if config else [])


def examine(compute: Compute, progress: Progress = SILENT) -> tuple[Claim, list[Picture]]:
    """Everything, at the settings of the page."""
    config = NormsConfig()
    found = measure_norms(compute, config, progress)
    return claim_of(found, config, compute), pictures(found)


def claim_of(found: Norms, config: NormsConfig, compute: Compute) -> Claim:
    """The findings, and what follows."""
    many = len(config.seeds)
    about = {"seed": compute.seed, "seeds of the models": many, **settings(config)}
    return Claim(
        "norms", "Local normalisation",
        "A norm with a pool for each subspace keeps the gain of one out of what is read from "
        "another, which LayerNorm cannot; and it can take LayerNorm's place in a language model.",
        "Carandini and Heeger 2012 (Nature Reviews Neuroscience 13); Ren et al. 2017 (arXiv "
        "1611.04520); Menary et al. 2024 (arXiv 2406.17837); Zhang and Sennrich 2019 (arXiv "
        "1910.07467); folding as in TransformerLens.",
        f"**Toy.** Two halves of {_WIDTH} axes hold content of mean square one, each with a gain of "
        "its own. A linear decoder of the first half is fitted behind a norm with all gains at one, "
        f"then asked at gains of {GAINS[0]} to {GAINS[-1]:g}. Flat: the largest error at most {FLAT} "
        f"times the smallest. Rising: at least {RISES:g} times. Pools laid across the halves are the "
        "null. Planted: halves hidden by a shuffle of the axes, which learned pools have to find.\n\n"
        f"**Models.** The specimen's architecture (one layer, width {config.width}, "
        f"{config.neurons} ReLU neurons) learns from the standard library's source with each norm in "
        f"the place of all three of its own: {config.steps} updates of {config.batch} windows, {many} "
        "seeds, the same first weights, text and learning rate for all, nothing tuned. Differences "
        "from LayerNorm are paired by seed, with 95 % intervals by Student's t. A TopK dictionary "
        f"({config.latents} latents, {config.k} active) then reads the neurons of each. Overlaps are "
        "mean squared cosines times the width, about the mean: 1 for random directions.",
        [*_of_toy(found), *_of_folds(found), *_of_models(found)],
        _words(found), ["monosemy lab norms", "monosemy lab norms --toy --json"], about,
    )  # fmt: skip


def pictures(found: Norms) -> list[Picture]:
    """The toy's curves; the models' numbers, where there are models."""
    toy = found.toy.to_json()
    made = [Picture(
        "norms-toy",
        "Decoding error of the first subspace against the gain of the second (left) and against its "
        "own (right).",
        reports.toy_svg(toy), toy,
    )]  # fmt: skip
    if found.models:
        data = {"models": table(found.models), "means": means(found.models)}
        made.append(Picture(
            "norms-models",
            "The specimen's architecture under each norm: held-out loss, variance that a dictionary "
            "of its neurons explains, overlap of what neurons write. Dots are means over seeds, "
            "bars 95 % intervals of the difference from LayerNorm.",
            reports.models_svg(data), data,
        ))  # fmt: skip
    return made


# --- the toy -------------------------------------------------------------------------------------


def _toy(compute: Compute, progress: Progress) -> Toy:
    toy = TwoSubspaces.draw(_SAMPLES, _WIDTH, compute.generator("two subspaces"))
    hidden = TwoSubspaces.draw(_SAMPLES, _WIDTH, compute.generator("hidden halves"), shuffled=True)
    other, own = dict[str, list[float]](), dict[str, list[float]]()
    kinds = {kind: make(kind, _WIDTH, pools=2, sigma=_SIGMA).normalised
             for kind in ("layernorm", "rmsnorm", "divisive", "none")}  # fmt: skip
    for kind, normalise in kinds.items():
        other[kind] = decoding_errors(normalise, toy)
        own[kind] = decoding_errors(normalise, toy, of="own")
    across = DivisiveNorm(_WIDTH, 2, _SIGMA).normalised
    other["pools across"] = decoding_errors(across, hidden)
    own["pools across"] = decoding_errors(across, hidden, of="own")
    purities, before = [], []
    with progress.task("learned pools", 3, "seeds") as task:
        for number in range(3):
            draw = compute.generator(f"learned pools/{number}")
            hidden = TwoSubspaces.draw(1000, _WIDTH, draw, shuffled=True)
            before.append(learn_pools(hidden, 2, draw, steps=0)[1])
            purities.append(learn_pools(hidden, 2, draw)[1])
            task.advance()
    return Toy(other, own, purities, before)


def _of_toy(found: Norms) -> list[Finding]:
    toy, n = found.toy, f"{_SAMPLES // 2:,} samples, {len(GAINS)} gains"

    def flat(what: str, errors: Sequence[float]) -> Finding:
        ratio = max(errors) / min(errors)
        return Finding(what, ratio, n, f"at most {FLAT}: flat", holds=ratio <= FLAT)

    def rising(what: str, errors: Sequence[float], kind: str = "reference") -> Finding:
        ratio = errors[-1] / errors[GAINS.index(1.0)]
        return Finding(what, ratio, n, f"at least {RISES:g}: rising", kind, ratio >= RISES)

    worst, first = min(toy.purity), max(toy.before)
    seeds = f"{len(toy.purity)} seeds"
    return [
        flat("divisive: error over gains of the other half, largest by smallest",
             toy.other["divisive"]),
        rising("LayerNorm: error at gain 8 of the other half, by that at 1", toy.other["layernorm"]),
        rising("RMSNorm: the same", toy.other["rmsnorm"]),
        rising("no norm: error at gain 8 of its own half, by that at 1", toy.own["none"]),
        rising("divisive with pools across the halves: the same as LayerNorm's",
               toy.other["pools across"], NULL),
        Finding("learned pools: purity on hidden halves, worst seed", worst, seeds,
                f"at least {PURE}", PLANTED, worst >= PURE),
        Finding("the same before learning, best seed", first, seeds, f"at most {IMPURE}", NULL,
                first <= IMPURE),
    ]  # fmt: skip


# --- folding -------------------------------------------------------------------------------------


@torch.no_grad()
def _folds() -> tuple[float, float]:
    """Largest change of a logit of the specimen, by the largest logit, in double precision."""
    ids = torch.arange(256).view(2, 128)
    changes = []
    for change in (fold, centre_writers):
        model: Any = load(SPECIMEN).model.double()
        before = model(ids).logits
        change(model)
        changes.append(float((model(ids).logits - before).abs().max() / before.abs().max()))
    return changes[0], changes[1]


def _of_folds(found: Norms) -> list[Finding]:
    return [
        Finding(what, ours, "256 positions of the specimen", f"less than {EXACT:g}",
                holds=ours < EXACT)
        for what, ours in (
            ("gain and bias folded into the next weights: change of logits", found.folded),
            ("writers centred: change of logits", found.centred),
        )
    ]  # fmt: skip


# --- models --------------------------------------------------------------------------------------


def means(models: Sequence[Learned]) -> dict[str, dict[str, dict[str, float]]]:
    """Norm -> number -> ``{mean, difference, low, high}``, the difference from LayerNorm by seed."""
    kinds = list(dict.fromkeys(one.kind for one in models))
    values = {kind: [{"loss": one.loss, **one.numbers} for one in models if one.kind == kind]
              for kind in kinds}  # fmt: skip
    found: dict[str, dict[str, dict[str, float]]] = {}
    for kind in kinds:
        found[kind] = {}
        for name in values[kind][0]:
            ours = np.array([row[name] for row in values[kind]])
            theirs = np.array([row[name] for row in values["layernorm"]])
            middle, low, high = interval(ours - theirs)
            found[kind][name] = {"mean": float(ours.mean()), "difference": middle, "low": low,
                                 "high": high}  # fmt: skip
    return found


def interval(differences: np.ndarray) -> tuple[float, float, float]:
    """Mean and 95 % interval of a few paired differences, by Student's t."""
    n = len(differences)
    middle = float(differences.mean())
    if n < 2:
        return middle, middle, middle
    half = _T.get(n - 1, 1.96) * float(differences.std(ddof=1)) / math.sqrt(n)
    return middle, middle - half, middle + half


def _of_models(found: Norms) -> list[Finding]:
    if not found.models:
        return []
    numbers = means(found.models)
    n = f"{len({one.seed for one in found.models})} seeds"
    base = numbers["layernorm"]["loss"]["mean"]
    findings = [Finding("held-out loss with LayerNorm, nats", base, n, kind=MEASURED)]
    for kind, of in numbers.items():
        if kind == "layernorm":
            continue
        change = {key: of["loss"][key] / base for key in ("difference", "low", "high")}
        # Whether a model can do without any norm is asked, not claimed.
        judged = kind != "none"
        findings.append(Finding(
            f"held-out loss with {kind}, above LayerNorm's, as a share of it", change["difference"], n,
            f"at most {COSTS} at the upper end" if judged else "", "reference" if judged else MEASURED,
            change["high"] <= COSTS if judged else None, change["low"], change["high"],
        ))  # fmt: skip
    for name, what in reports.NUMBERS.items():
        for kind, of in numbers.items():
            one = of[name]
            low, high = (one["mean"] - one["difference"] + one[end] for end in ("low", "high"))
            findings.append(Finding(
                f"{what}, {kind}", one["mean"], n, kind=MEASURED,
                low=None if kind == "layernorm" else low,
                high=None if kind == "layernorm" else high,
            ))  # fmt: skip
    return findings


def _words(found: Norms) -> str:
    toy = (
        "In the toy the separation is exact: a pool divides by its own energy and by nothing else. "
        "It holds only where pools and subspaces agree; laid across them, pools are as leaky as "
        "LayerNorm, and learned pools find hidden halves only because the task punishes the leak."
    )
    if not found.models:
        return toy
    numbers = means(found.models)

    def told(kind: str) -> str:
        loss = numbers[kind]["loss"]
        base = numbers["layernorm"]["loss"]["mean"]
        return f"{kind} {loss['difference'] / base:+.1%}"

    others = ", ".join(told(kind) for kind in numbers if kind != "layernorm")
    clear = [
        f"{what} ({kind} {numbers[kind][name]['mean']:.3g} against "
        f"{numbers['layernorm'][name]['mean']:.3g})"
        for name, what in reports.NUMBERS.items() for kind in numbers
        if kind != "layernorm" and numbers[kind][name]["low"] * numbers[kind][name]["high"] > 0
    ]  # fmt: skip
    said = "; ".join(clear) or "none"
    bare = numbers.get("none", {}).get("loss")
    easy = bare is not None and bare["high"] <= COSTS * numbers["layernorm"]["loss"]["mean"]
    control = (
        " A model without any norm costs no more than that either (its gains begin where the stream "
        "has length one), so at this size the loss does not need a norm, and that pools can take "
        "LayerNorm's place is weak evidence." if easy else ""
    )  # fmt: skip
    return (
        f"{toy} In the small language models, held-out loss differs from LayerNorm's by: {others}."
        f"{control} Of superposition and of the dictionaries, these differ from LayerNorm's beyond "
        f"their intervals: {said}. The runs are short, the pools are blocks of axes that nothing told "
        "the model about, and one layer is little to normalise: this shows what is possible at this "
        "size, not what a large model would do. Intervals are by number, without a correction for how "
        "many there are."
    )
