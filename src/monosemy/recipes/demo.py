"""The demo: the main job on the model that ships inside, from text to a page of features."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from monosemy.data.capture import LiveSource
from monosemy.explanation.collect import Collected, collect
from monosemy.explanation.effects import direct_effects
from monosemy.explanation.examples import choose_features, examples
from monosemy.foundation import storage
from monosemy.foundation.progress import SILENT, Progress
from monosemy.recipes.catalogue import demo
from monosemy.recipes.dictionary import train_dictionary
from monosemy.recipes.evaluation import Evaluation, evaluate
from monosemy.recipes.recipe import DictionaryRecipe
from monosemy.reports.page import write_page
from monosemy.training.journal import Journal, provenance

FEATURES = 12
EXAMPLES = 8


class Clock:
    """Seconds spent in each named stage."""

    def __init__(self) -> None:
        self.began = time.perf_counter()
        self.stages: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the block's time to the stage `name`."""
        began = time.perf_counter()
        yield
        self.stages[name] = round(time.perf_counter() - began, 2)

    @property
    def seconds(self) -> float:
        """Since the clock was made."""
        return round(time.perf_counter() - self.began, 2)


def run_demo(
    out: str | Path, recipe: DictionaryRecipe | None = None, progress: Progress = SILENT
) -> dict[str, Any]:
    """Train, measure, look; write ``report.json`` and ``report.html`` into `out`.

    Returns the report. The dictionary and its journal stay under ``out/run``; called again, what
    is finished there is read, not made again.
    """
    recipe = recipe or demo()
    out, clock = Path(out), Clock()
    with clock.stage("train"):
        train_dictionary(recipe, out / "run", progress)
    with clock.stage("measure"):
        evaluation = evaluate(out / "run", progress=progress)
    with clock.stage("look"):
        collected, features = look_at_features(evaluation, progress)
    report = {
        **evaluation.to_json(),
        "features": features,
        "densities": _densities(evaluation, collected),
        "training": {"curve": Journal(out / "run", _configuration(out)).metrics()},
        "seconds": clock.seconds,
        "stages": clock.stages,
        "recipe": asdict(recipe),
        **provenance(),
    }
    storage.write_json(out / "report.json", report)
    write_page(report, out / "report.html")
    return report


def look_at_features(
    evaluation: Evaluation, progress: Progress = SILENT, count: int = FEATURES
) -> tuple[Collected, list[dict[str, Any]]]:
    """Collect over the held-out text, choose `count` features, gather what a person looks at."""
    heldout, dictionary = evaluation.heldout, evaluation.dictionary
    source = LiveSource(heldout.loaded, heldout.site, heldout.contexts)
    collected = collect(dictionary, source, progress=progress)
    chosen = choose_features(collected, count)
    shown = examples(collected, dictionary, source, heldout.loaded.tokenizer, chosen, EXAMPLES)
    effects = direct_effects(heldout.loaded, heldout.site, dictionary.W_dec.detach()[chosen])
    density, largest = collected.density, collected.max_activation
    features = [
        {
            "id": latent,
            "density": float(density[latent]),
            "max_activation": float(largest[latent]),
            "examples": [asdict(example) for example in shown[latent]],
            "raised": [list(pair) for pair in effect.raised],
            "lowered": [list(pair) for pair in effect.lowered],
            "effects_note": effect.reason,
            "histogram": collected.histogram(latent),
        }
        for latent, effect in zip(chosen, effects, strict=True)
    ]
    return collected, features


def _densities(evaluation: Evaluation, collected: Collected) -> dict[str, list[float]]:
    densities = {"dictionary": collected.density.tolist()}
    if "random_model" in evaluation.controls:
        densities["random_model"] = evaluation.controls["random_model"].density.tolist()
    return densities


def _configuration(out: Path) -> dict[str, Any]:
    return storage.read_json(out / "run" / "run.json", "the run's description")["configuration"]
