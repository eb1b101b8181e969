"""The census as a claim: what was said of the sizes of models and brains, counted again."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

from monosemy.foundation.progress import SILENT, Progress
from monosemy.models.census import Census, count, parameters
from monosemy.models.census_table import FAMILIES, MODELS
from monosemy.models.loading import SPECIMEN
from monosemy.reports import census as reports
from monosemy.reports.laboratory import Picture
from monosemy.superposition.claims import NULL, PLANTED, Claim, Finding
from monosemy.tensors.compute import Compute

# Published totals are rounded, mostly to two or three digits; fixed beforehand.
TOLERANCE = 0.02
SHOWN = (
    "specimen", "pythia-70m", "gpt2", "gpt2-xl", "bert-base", "gemma-2-2b", "gpt-j-6b",
    "llama-3-8b", "mistral-7b", "pythia-12b", "gemma-3-27b", "qwen2.5-72b", "chinchilla-70b",
    "bloom-176b", "gpt-3", "gopher-280b", "llama-3.1-405b", "palm-540b",
)  # fmt: skip
"""Models of the page's figure; ``monosemy census --out`` draws all of them."""
_WEIGHTS = Path(__file__).parents[2] / "models" / SPECIMEN / "model.safetensors"


def examine(compute: Compute, progress: Progress = SILENT) -> tuple[Claim, list[Picture]]:
    """Counts beside those of the research note, and formulas beside published totals."""
    gpt3, palm, llama = count(["gpt-3", "palm-540b", "llama-7b"])
    shown = count(SHOWN)
    claim = Claim(
        "census", "Axes, units and neurons",
        "GPT-3 has about 1.18 million units (layers x width) and PaLM 2.17 million, more than an "
        "adult fruit fly has neurons; their MLP neurons are four times as many.",
        "Brown et al. 2020 (arXiv 2005.14165); Chowdhery et al. 2022 (arXiv 2204.02311); every other "
        "model's source is in `monosemy census --json`, and those of nervous systems in "
        "[the data](figures/census-brains.json).",
        "Shapes are those that the makers published; units are `layers x width`, MLP neurons "
        "`layers x inner width`. A formula for each family gives the parameters, which are held to "
        f"the published totals within {TOLERANCE:.0%}: a wrong shape would not meet them. What "
        "a formula must refuse: gated MLPs counted as if they had two matrices. Planted: the "
        "specimen's weights, counted in their file.",
        [*_units(gpt3, palm, llama), *_formulas()],
        "The two counts answer different questions. Units are places in the residual stream, "
        "counted once a layer although every layer writes into the same axes; MLP neurons are what "
        "has an activation function. By either count GPT-3 lies between a honeybee and a mouse; "
        "for smaller models it matters which is meant (Llama 3 8B has fewer units and more MLP neurons "
        "than an adult fly has neurons). A normalised stream has fewer degrees "
        "of freedom than axes: two fewer after LayerNorm, one after RMSNorm ([measured](freedom.md)).",
        ["monosemy census", "monosemy census gpt-3 palm-540b --json", "monosemy lab pages census"],
        {"models": f"{len(MODELS)} published and the specimen"},
    )  # fmt: skip
    caption = (
        "Units (circles) and MLP neurons (diamonds) of models, beside neurons of nervous systems."
    )
    return claim, [
        Picture("census-brains", caption, reports.svg(shown), reports.figure_data(shown))
    ]


def _units(gpt3: Census, palm: Census, llama: Census) -> list[Finding]:
    def equal(what: str, ours: int, reference: int, n: str) -> Finding:
        return Finding(what, ours, n, reference, holds=ours == reference)

    assert gpt3.freedom is not None
    assert llama.freedom is not None
    return [
        equal("units of GPT-3", gpt3.units, 1_179_648, "96 layers of 12,288"),
        equal("MLP neurons of GPT-3", gpt3.mlp_neurons, 4_718_592, "96 layers of 49,152"),
        equal("units of PaLM-540B", palm.units, 2_174_976, "118 layers of 18,432"),
        equal("MLP neurons of PaLM-540B", palm.mlp_neurons, 8_699_904, "118 layers of 73,728"),
        equal("span of GPT-3's stream after LayerNorm", gpt3.freedom["span"], 12_287, "12,288 axes"),
        equal("its intrinsic dimension", gpt3.freedom["intrinsic"], 12_286, "12,288 axes"),
        equal("intrinsic dimension of LLaMA-7B's stream after RMSNorm", llama.freedom["intrinsic"],
              4_095, "4,096 axes"),
    ]  # fmt: skip


def _formulas() -> list[Finding]:
    misses = [abs(parameters(model, FAMILIES[model.family]) / (model.published * 1e6) - 1)
              for model in MODELS]  # fmt: skip
    met = sum(miss <= TOLERANCE for miss in misses)
    gated = [model for model in MODELS if FAMILIES[model.family].gated]
    plain = [abs(parameters(model, replace(FAMILIES[model.family], gated=False))
                 / (model.published * 1e6) - 1) for model in gated]  # fmt: skip
    wrong = sum(miss <= TOLERANCE for miss in plain)
    inside, counted = stored_parameters(_WEIGHTS), count([SPECIMEN])[0].parameters
    return [
        Finding(f"published totals that the formulas meet within {TOLERANCE:.0%}", met,
                f"{len(MODELS)} models", len(MODELS), holds=met == len(MODELS)),
        Finding("the widest miss", max(misses), f"{len(MODELS)} models", f"at most {TOLERANCE}",
                holds=max(misses) <= TOLERANCE),
        Finding("gated MLPs counted as plain: totals met all the same", wrong,
                f"{len(gated)} models", 0, NULL, wrong == 0),
        Finding("parameters of the specimen, by its configuration", counted or 0, "1 file",
                inside, PLANTED, counted == inside),
    ]  # fmt: skip


def stored_parameters(path: Path) -> int:
    """Numbers in a safetensors file, from its header: eight bytes of length, then JSON."""
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return sum(math.prod(entry["shape"]) for key, entry in header.items() if key != "__metadata__")
