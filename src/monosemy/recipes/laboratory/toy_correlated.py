"""Company decides the geometry: together at right angles, one of a set antipodal, dense collapses."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from monosemy.data.toys import APART, ONE_OF, TOGETHER, SparseFeatures, densities
from monosemy.foundation.errors import refuse
from monosemy.foundation.progress import SILENT, Progress
from monosemy.models.toy import TiedToy
from monosemy.recipes.laboratory.toys import RUNS, Found, ToySettings, best_of, losses, train_toys
from monosemy.reports.laboratory import Picture
from monosemy.reports.toys import companies
from monosemy.superposition.claims import MEASURED, NULL, Finding
from monosemy.superposition.geometry import gram, norms
from monosemy.tensors.axes import Bool, Float, Tensor
from monosemy.tensors.compute import Compute

TITLE = "Features that fire together lie at right angles, those that exclude each other opposite"
# Cosines counted as right angles, opposite, and collapsed, and the
# share of pairs that must be so.
RIGHT, OPPOSITE, COLLAPSED, AT_LEAST = 0.1, -0.9, 0.95, 0.9


@dataclass(frozen=True)
class CompanySettings:
    """Densities, repetitions, and how the models learn."""

    together: float = 0.1
    """Density of features that fire together (two sets of two, in two numbers)."""
    one_of: float = 0.45
    """Density of features of which a set fires at most one, and of independent ones beside them."""
    models: int = 20
    """Of each kind."""
    fits: int = 4
    """Instances of each model; the one of lowest loss stands for it."""
    collapse: tuple[float, ...] = (0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8)
    """Densities of three always-together pairs in two numbers."""
    collapse_fits: int = 8
    """Instances at each of them."""
    training: ToySettings = field(default_factory=lambda: ToySettings(3000, 256, 1e-2))

    def __post_init__(self) -> None:
        least = {"models": self.models, "fits": self.fits, "collapse_fits": self.collapse_fits}
        refuse(
            [f"{name} = {given}; wanted at least 1" for name, given in least.items() if given < 1],
            "this experiment",
        )


def run(
    settings: CompanySettings | None = None, compute: Compute | None = None, runs: Path = RUNS,
    progress: Progress = SILENT,
) -> Found:  # fmt: skip
    """Train two sets of two in each kind of company, and three pairs at every density."""
    settings, compute = settings or CompanySettings(), compute or Compute()
    places = {
        TOGETHER: (TOGETHER, settings.together), ONE_OF: (ONE_OF, settings.one_of),
        f"{APART}, sparse": (APART, settings.together), APART: (APART, settings.one_of),
    }  # fmt: skip
    kinds = {
        name: _kind(name, company, density, settings, compute, runs, progress)
        for name, (company, density) in places.items()
    }
    collapse = _collapse(settings, compute, runs, progress)
    data = {"n_models": settings.models, "n_fits": settings.fits, "kinds": kinds,
            "n_collapse_fits": settings.collapse_fits,
            "collapse": collapse}  # fmt: skip
    findings = [*_findings(settings, kinds), *_collapse_findings(settings, collapse)]
    picture = Picture("superposition-correlated", CAPTION, companies(kinds, collapse), data)
    words = (
        f"Of two features that fire together, {_percent(kinds[TOGETHER]['right_angles'])} lie at right "
        "angles: opposite directions would cost most when both fire. Of two that exclude each other, "
        f"{_percent(kinds[ONE_OF]['opposite'])} lie opposite, where the interference is free. Pairs "
        f"that always come together lie side by side in {_percent(collapse[0]['side_by_side'])} where "
        f"they are sparsest; where they are densest, {_percent(collapse[-1]['collapsed'])} are "
        "collapsed into their sum (a + b)/√2, as principal components would have it."
    )
    return Found("correlated", TITLE, data, findings, [picture], words, asdict(settings))


CAPTION = (
    "Columns of W in the plane, best fit of each kind: colours are sets. Below: three always-together "
    "pairs, from sparse to dense."
)


def _kind(
    name: str, company: str, density: float, settings: CompanySettings, compute: Compute, runs: Path,
    progress: Progress,
) -> dict[str, Any]:  # fmt: skip
    rows = densities([density], 4, settings.models * settings.fits)
    law = SparseFeatures(rows, company, 1 if company == APART else 2)
    toy = TiedToy(len(rows), 4, 2, compute.generator(f"first weights, {name}"))
    label = f"correlated-{name.replace(' ', '-').replace(',', '')}"
    program = train_toys(
        label, toy, law, torch.ones(1, 4), settings.training, compute, runs, progress
    )
    loss = losses(program, law, compute)
    best, _ = best_of(toy.weights.detach(), loss, settings.fits)
    cosines, every = within(best), within(toy.weights.detach())
    return {
        "density": density, "n_pairs": cosines.numel(), "n_pairs_of_every_fit": every.numel(),
        "right_angles": _share(cosines.abs() < RIGHT), "opposite": _share(cosines < OPPOSITE),
        "right_angles_of_every_fit": _share(every.abs() < RIGHT),
        "opposite_of_every_fit": _share(every < OPPOSITE),
        "best": toy.weights.detach()[int(loss.argmin())].tolist(),
    }  # fmt: skip


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _share(which: Bool[Tensor, "..."]) -> float:
    return float(which.double().mean())


def within(weights: Float[Tensor, "instance hidden feature"]) -> Float[Tensor, "instance pair"]:
    """Cosines between the two features of each pair of neighbours."""
    unit = weights / norms(weights)[:, None].clamp(min=1e-6)
    first = torch.arange(0, weights.shape[2], 2)
    return gram(unit)[:, first, first + 1]


def _collapse(
    settings: CompanySettings, compute: Compute, runs: Path, progress: Progress
) -> list[dict[str, Any]]:
    rows = densities(settings.collapse, 6, settings.collapse_fits)
    law = SparseFeatures(rows, TOGETHER, 2)
    toy = TiedToy(len(rows), 6, 2, compute.generator("first weights of three pairs"))
    program = train_toys(
        "collapse", toy, law, torch.ones(1, 6), settings.training, compute, runs, progress
    )
    loss = losses(program, law, compute).view(-1, settings.collapse_fits)
    weights = toy.weights.detach().view(-1, settings.collapse_fits, 2, 6)
    found = []
    for density, of, one in zip(settings.collapse, loss, weights, strict=True):
        cosines = within(one)
        found.append({
            "density": density, "n_pairs": cosines.numel(),
            "collapsed": _share(cosines > COLLAPSED),
            "side_by_side": _share((cosines > RIGHT) & (cosines <= COLLAPSED)),
            "cosines": [[round(float(c), 4) for c in row] for row in cosines],
            "best": one[int(of.argmin())].tolist(),
            "best_lengths": [round(float(v), 4) for v in norms(one[int(of.argmin())])],
        })  # fmt: skip
    return found


def _findings(settings: CompanySettings, kinds: dict[str, dict[str, Any]]) -> list[Finding]:
    def n(name: str) -> str:
        return (
            f"{kinds[name]['n_pairs']} pairs in {settings.models} models, best of {settings.fits}"
        )

    together, one_of = kinds[TOGETHER], kinds[ONE_OF]
    sparse, dense = kinds[f"{APART}, sparse"], kinds[APART]
    return [
        Finding("together: pairs at right angles", together["right_angles"], n(TOGETHER),
                f"at least {AT_LEAST} (TMS)", holds=together["right_angles"] >= AT_LEAST),
        Finding("together: pairs opposite", together["opposite"], n(TOGETHER), "0 (TMS)",
                holds=together["opposite"] == 0),
        Finding("one of a set: pairs opposite", one_of["opposite"], n(ONE_OF),
                f"at least {AT_LEAST} (TMS)", holds=one_of["opposite"] >= AT_LEAST),
        Finding("one of a set: pairs opposite, of every fit", one_of["opposite_of_every_fit"],
                f"{one_of['n_pairs_of_every_fit']} pairs", kind=MEASURED),
        # Of independent features every pairing is as good, so the choice of a best fit says nothing.
        Finding("independent, as sparse as those together: pairs at right angles",
                sparse["right_angles_of_every_fit"], f"{sparse['n_pairs_of_every_fit']} pairs",
                f"below {AT_LEAST}; 2/3 by chance", NULL,
                sparse["right_angles_of_every_fit"] < AT_LEAST),
        Finding("independent, as dense as one of a set: pairs opposite",
                dense["opposite_of_every_fit"], f"{dense['n_pairs_of_every_fit']} pairs",
                f"below {AT_LEAST}; 1/3 by chance", NULL,
                dense["opposite_of_every_fit"] < AT_LEAST),
    ]  # fmt: skip


def _collapse_findings(settings: CompanySettings, collapse: list[dict[str, Any]]) -> list[Finding]:
    sparse, dense = collapse[0], collapse[-1]
    n = f"{{}} pairs in {settings.collapse_fits} models, every fit"
    return [
        Finding(f"always together, density {sparse['density']:g}: pairs side by side",
                sparse["side_by_side"], n.format(sparse["n_pairs"]), "more than 1/2 (TMS)",
                holds=sparse["side_by_side"] > 0.5),
        Finding(f"always together, density {dense['density']:g}: pairs collapsed into their sum",
                dense["collapsed"], n.format(dense["n_pairs"]), f"at least {AT_LEAST} (TMS)",
                holds=dense["collapsed"] >= AT_LEAST),
    ]  # fmt: skip
