"""The page about codes: a cube, made codes of four kinds, and models where there are any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from monosemy.foundation.progress import SILENT, Progress
from monosemy.recipes.laboratory import data_folder
from monosemy.recipes.laboratory.code_samples import from_model
from monosemy.recipes.laboratory.codes import (
    BITS,
    CodesConfig,
    examine_code,
    examine_cube,
    examine_made,
)
from monosemy.reports import codes as reports
from monosemy.reports.laboratory import Picture
from monosemy.superposition.claims import MEASURED, NULL, PLANTED, Claim, Finding
from monosemy.superposition.coded import Coded, cube
from monosemy.superposition.factorisation import GLOBAL, SEPARATE, TURNED, UNSTRUCTURED
from monosemy.superposition.tuning import axis_cells, exemplar_cells, tuning
from monosemy.tensors.compute import Compute

# Fixed before anything was measured.
PLANTED_KINDS = {"global": GLOBAL, "separate": SEPARATE, "turned": TURNED, "random": UNSTRUCTURED}
ALIGNED, MIXED, CHANCE, FLAT = 0.9, 0.5, 0.05, 0.02
_CELLS, _STIMULI, _STIMULUS_WIDTH, _TRIALS = 20, 2000, 10, 200
_CUBE_WIDTH, _CUBE_SAMPLES, _CUBE_NOISE = 10, 60, 0.2
_MODEL, _TEXT = "models/minilm-l6", "text/tinystories/test.txt"
_SPECIMEN_TOKENS, _MODEL_TOKENS = 150_000, 20_000


def examine(compute: Compute, progress: Progress = SILENT) -> tuple[Claim, Sequence[Picture]]:
    """The claim, and its figures."""
    config = CodesConfig(draws=10)
    found = examine_cube(_CUBE_WIDTH, compute)
    codes = examine_made(config, compute, progress)
    axes = {name: examine_code(_noisy_cube(turned, compute), config, compute, progress)
            for name, turned in (("on the axes", False), ("turned", True))}  # fmt: skip
    words = [_WORDS]
    read = [
        _read(
            "specimen",
            "stdlib",
            _SPECIMEN_TOKENS,
            256,
            replace(config, least=25),
            compute,
            progress,
        )
    ]
    model, text = data_folder.find(_MODEL), data_folder.find(_TEXT)
    if model is None or text is None:
        words.append(
            data_folder.left_out("A pretrained encoder", _MODEL if model is None else _TEXT)
        )
    else:
        read.append(_read(str(model), str(text), _MODEL_TOKENS, 128, config, compute, progress))
    findings = [*_of_cube(found), *_of_made(codes), *_of_axes(axes), *_of_cells(compute),
                *[one for code in read for one in _of_read(code)]]  # fmt: skip
    pictures = [
        Picture("codes-cube", "Three bits on the corners of a cube, and eight random points.",
                reports.cube_svg(found), found),
        Picture("codes-made", "Made codes of four kinds, each with a position and a class. Blue: the "
                "code, with intervals; grey: every condition moved to a random place (mean, and up to "
                "the 95 % quantile). Dotted: chance. Dashed: the rule.",
                reports.codes_svg(codes), codes),
        Picture("codes-models", "Variables in models; marks as above.", reports.codes_svg(read), read),
    ]  # fmt: skip
    return _claim(findings, " ".join(words), compute), pictures


def _read(
    model: str, text: str, tokens: int, context: int, config: CodesConfig, compute: Compute,
    progress: Progress,
) -> dict[str, Any]:  # fmt: skip
    coded = from_model(model, text, None, None, tokens, context, compute, progress)
    return examine_code(coded, config, compute, progress)


def _noisy_cube(turned: bool, compute: Compute) -> Coded:
    """Samples round the corners of a cube whose edges are axes, or are turned at random."""
    draw = compute.generator("a noisy cube")
    corners = cube(BITS, _CUBE_WIDTH, draw)
    labels = torch.cartesian_prod(*[torch.tensor([0, 1])] * BITS)
    if not turned:
        corners = torch.zeros_like(corners)
        corners[:, :BITS] = 2.0 * labels - 1
    condition = torch.arange(len(corners)).repeat_interleave(_CUBE_SAMPLES)
    x = corners[condition] + _CUBE_NOISE * torch.randn(len(condition), _CUBE_WIDTH, generator=draw)
    names = tuple(f"bit {number + 1}" for number in range(BITS))
    values = (("0", "1"),) * BITS
    return Coded("a cube", x, labels[condition], names, values, torch.arange(len(x)))


def _of_cube(found: Mapping[str, Any]) -> list[Finding]:
    n, random = f"{found['conditions']} corners, {BITS} bits", found["random"]
    count, many = found["shattering_count"], found["dichotomies"]
    return [
        Finding("cube: CCGP of the bits", found["ccgp"], n, "1 exactly",
                holds=abs(found["ccgp"] - 1) < 1e-9),
        Finding("cube: parallelism of the bits", found["parallelism"], n, "1 ± 1e-6",
                holds=abs(found["parallelism"] - 1) < 1e-6),
        Finding("cube: balanced dichotomies separable", count, f"{many} dichotomies",
                "7: bits and signed majorities", holds=count == 7),
        Finding("eight random points: dichotomies separable, fewest",
                min(random["shattering_count"]), f"{len(random['shattering_count'])} draws", many,
                holds=min(random["shattering_count"]) == many),
        Finding("eight random points: CCGP", random["ccgp"],
                f"{random['draws']} draws of {BITS} bits", "0.5 ± 0.05", NULL,
                abs(random["ccgp"] - 0.5) <= CHANCE),
    ]  # fmt: skip


def _of_made(codes: Sequence[Mapping[str, Any]]) -> list[Finding]:
    findings = []
    for found in codes:
        kind = found["name"].removeprefix("made: ")
        n = f"{found['samples']:,} samples of {found['conditions']} conditions"
        position, group = found["variables"]["position"], found["variables"]["class"]
        wanted = UNSTRUCTURED if kind == "random" else GLOBAL
        findings += [
            Finding(f"made {kind}: code of position", position["kind"], n, PLANTED_KINDS[kind], PLANTED,
                    position["kind"] == PLANTED_KINDS[kind]),
            Finding(f"made {kind}: code of class", group["kind"], n, wanted, PLANTED,
                    group["kind"] == wanted),
        ]  # fmt: skip
    nulls = [one["ccgp"]["null"][kind]["mean"] for found in codes
             for one in found["variables"].values() for kind in one["ccgp"]["null"]]  # fmt: skip
    far = max(nulls, key=lambda value: abs(value - 0.5))
    findings.append(Finding(
        "labels shuffled, random geometry: CCGP farthest from a half", far,
        f"{len(nulls)} nulls", "0.5 ± 0.05", NULL, abs(far - 0.5) <= CHANCE,
    ))  # fmt: skip
    return findings


def _of_axes(axes: Mapping[str, Mapping[str, Any]]) -> list[Finding]:
    findings = []
    for name, found in axes.items():
        n, one = f"{found['samples']} samples", found["disentanglement"]
        lowest = min(v["ccgp"]["value"] for v in found["variables"].values())
        aligned = name == "on the axes"
        reference = f"≥ {ALIGNED}" if aligned else f"≤ {MIXED}"
        for key, said in (
            ("disentanglement", "DCI disentanglement"),
            ("gap", "mutual information gap"),
        ):
            holds = one[key] >= ALIGNED if aligned else one[key] <= MIXED
            findings.append(Finding(f"cube {name}: {said}", one[key], n, reference, PLANTED, holds))
        findings.append(Finding(f"cube {name}: CCGP, lowest of the bits", lowest, n, f"≥ {ALIGNED}",
                                PLANTED, lowest >= ALIGNED))  # fmt: skip
    return findings


def _of_cells(compute: Compute) -> list[Finding]:
    draw = compute.generator("cells")
    stimuli = torch.randn(_STIMULI, _STIMULUS_WIDTH, generator=draw)
    axis, exemplar = (tuning(stimuli, make(stimuli, _CELLS, _TRIALS, 0.5, draw))
                      for make in (axis_cells, exemplar_cells))  # fmt: skip
    n = f"{_CELLS} cells, {_STIMULI:,} stimuli, {_TRIALS} trials"
    return [
        Finding("axis cells: variance explained along the axis", axis.along, n,
                f"the noise ceiling {axis.ceiling:.3f} ± {FLAT}", PLANTED,
                abs(axis.along - axis.ceiling) <= FLAT),
        Finding("axis cells: variance across the axis, of that along it", axis.across, n,
                f"0 ± {FLAT}", PLANTED, abs(axis.across) <= FLAT),
        Finding("exemplar cells: variance across the axis, of that along it", exemplar.across, n,
                f"above {FLAT}", NULL, exemplar.across > FLAT),
    ]  # fmt: skip


def _of_read(found: Mapping[str, Any]) -> list[Finding]:
    findings = []
    n = (f"{found['samples']:,} samples of {found['groups']:,} documents, {found['conditions']} "
         "conditions")  # fmt: skip
    for name, one in found["variables"].items():
        where = f"{found['name']}: {name} ({len(one['values'])} values)"
        for key, said in (("ccgp", "CCGP"), ("parallelism", "parallelism"), ("common", "common")):
            null = one[key]["null"]["random geometry"]["high"]
            findings.append(Finding(
                f"{where}, {said}", one[key]["value"], n, f"random geometry below {null:.2f}", MEASURED,
                low=one[key]["low"], high=one[key]["high"],
            ))  # fmt: skip
        findings.append(Finding(f"{where}, code", one["kind"], n, "", MEASURED))
    return findings


_WORDS = (
    "The rule tells codes of four kinds apart, and exact answers come out exactly. Models do both: in "
    "the encoder, where a word stands and what it is are added up, each in a code that is the same in "
    "all contexts; in the specimen the class of a token is coded much alike at every depth, while "
    "depth, which a linear reader does carry over to classes it never saw, has a direction of its own "
    "in each class for the most part. A high CCGP therefore does not mean that a code is global: a "
    "small common part is enough to be read. (Two depths have samples enough, so the rule says no "
    "more than conditional of them.) Turning a cube leaves CCGP at one and takes most of the mutual "
    "information gap away; DCI falls too, but less than was set beforehand: after a random turn many "
    "numbers still lean to one bit, and trees find them."
)
_METHOD = f"""\
Conditions are all combinations of the values of two or more variables; those of a variable's value are
its contexts. Activations are projected on their leading principal axes (64 at most). Readers are
least squares with conditions counted equally (Fisher's discriminant).

- **CCGP**: fitted on all contexts but one, read in that one, for each pair of values; chance is a half.
  On the cube all combinations of held-out conditions.
- **Parallelism**: for each pair of values the mean cosine of the differences between their means,
  context by context; the best of all pairings up to five contexts.
- **Common**: `C = mean over k ≠ l of Σ_v D_k[v]·D_l[v] / mean over k of Σ_v D_k[v]·D_k[v]`, D_k[v]
  the mean of value v in context k less the mean over values, the lower product between independent
  halves of the samples. 1: patterns are the same in every context; 0: nothing in common.
- **Dimensions**: participation ratio of a variable's variance within a context. **Overlap**: mean
  squared cosine of the principal angles between the subspaces of two contexts.
- **The rule.** `common ≥ 0.5`: {GLOBAL}. Else with fewer than four values: conditional, no more can be
  said. Else with dimensions above 0.6 of all there could be: {UNSTRUCTURED}. Else overlap ≥ 0.5:
  {TURNED}; below: {SEPARATE}.
- **Factorisation, invariance**: Lindsey and Issa 2024. **DCI**: importances of randomised trees.
  **MIG**: 20 bins.
- **Axis cells** (Chang and Tsao): `r = a·f + noise`, against cells that answer by the distance from an
  exemplar; a line is fitted on half of the trials, and variance across it is what bins along the
  orthogonal directions explain of the other half.
- **Nulls**: labels shuffled among samples; every condition's cloud moved to a random place.
- **Intervals**: CCGP by bootstrap over documents (readers as fitted); parallelism and common by leaving
  out a twentieth of the documents in turn.
"""


def _claim(findings: Sequence[Finding], words: str, compute: Compute) -> Claim:
    return Claim(
        "codes", "Local codes and linear mixtures",
        "Several variables can share one linear code, the same in every context, or each context can "
        "have a code of its own; which it is can be measured, and axes have nothing to do with it.",
        "Rigotti et al. 2013; Bernardi et al. 2020 (CCGP, parallelism, shattering); Hong et al. 2016, "
        "Chang and Tsao 2017 (linear codes in inferotemporal cortex); Lindsey and Issa 2024 (eLife "
        "91685, factorisation); Eastwood and Williams 2018 (DCI); Chen et al. 2018 (MIG).",
        _METHOD, findings, words,
        ["monosemy lab pages codes --out docs/laboratory",
         "monosemy lab codes --cube --json",
         "monosemy lab codes --out codes",
         f"monosemy lab codes --model specimen --tokens {_SPECIMEN_TOKENS} --least 25",
         "monosemy lab codes --model PATH/minilm-l6 --text PATH/tinystories/test.txt "
         f"--tokens {_MODEL_TOKENS} --context 128"],
        {"seed": compute.seed, "draws of each null": 10, "noise of made codes": 0.5,
         "width of made codes": 40},
    )  # fmt: skip
