"""A report such as a run writes, made up, with tokens that a page or a terminal could trip over."""

import copy
import random

import pytest

from monosemy.reports.measures import MEASURES

# Whatever a tokenizer or a text can hold must be shown, never obeyed.
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</title></style><b>",
    "{{ 7 * 7 }}",
    "\x1b[31mred\x1b[0m",
    "\u202eback",
    "[bold]markup[/bold]",
    "$x^2$",
)
NAMES = tuple(measure.name for measure in MEASURES)


def _numbers(level: float) -> dict:
    special = {
        "l0": {"value": 16.1234, "low": 15.9, "high": 16.3},
        "dead_fraction": {"value": 0.034, "low": 0.03, "high": 0.04},
    }
    return {
        name: special.get(name) or {"value": level, "low": level - 0.01, "high": level + 0.012}
        for name in NAMES
    }


def _example(tokens: list[str], peak: int, value: float, document: str) -> dict:
    activations = [0.0] * len(tokens)
    activations[peak] = value
    return {"document": document, "offset": 1234, "tokens": tokens, "activations": activations}


def _feature(number: int) -> dict:
    words = ["\n", "        ", "return", " self", ".", HOSTILE[number % len(HOSTILE)], "\n"]
    value = 10.0 - number
    return {
        "id": 100 + number,
        "density": 0.01 / (number + 1),
        "max_activation": value,
        "examples": [
            _example(words, 2, value, f"json/decoder{number}.py"),
            _example(words, 0, value / 2, "<i>odd</i> name.py"),
            *(_example(words, 5, value / 4, "short.py") for _ in range(5)),
        ],
        "raised": [[" None", 2.5], [HOSTILE[number % len(HOSTILE)], 1.25]],
        "lowered": [["\n\n", -1.5], ["ing", -0.75]],
        "histogram": {"edges": [0.0, 2.5, 5.0, 7.5, 10.0], "counts": [900, 80, 0, 1]},
    }


def _made() -> dict:
    draw = random.Random(0)
    densities = [0.0, 0.0] + [10 ** draw.gauss(-3, 0.6) for _ in range(400)]
    return {
        "model": {
            "name": "specimen", "family": "gpt2", "layers": 1, "width": 128, "vocabulary": 4096,
            "parameters": 1_278_720,
        },
        "site": {"name": "blocks.0.mlp.hook_post", "width": 512},
        "text": {
            "name": "stdlib", "split_train": "train", "split_heldout": "heldout",
            "train_tokens": 1_000_000, "heldout_tokens": 150_000, "heldout_documents": 131,
        },
        "dictionary": {
            "architecture": "batchtopk", "latents": 4096, "width": 512, "k": 16,
            "trained_tokens": 1_000_000, "path": "out/dictionary",
        },
        "metrics": _numbers(0.95),
        "controls": {
            "neurons": _numbers(0.75), "pca": _numbers(0.65), "random": _numbers(0.35),
            "random_model": _numbers(0.55),
        },
        "features": [_feature(number) for number in range(len(HOSTILE))],
        "densities": {"dictionary": densities, "random_model": densities[::2]},
        "training": {
            "curve": [
                {"step": step, "loss": 60 / (step + 1) + 2, "l0": 16.0, "dead": 90 - step}
                for step in range(0, 90, 5)
            ]
        },
        "seconds": 231.4,
        "stages": {"load": 1.2, "train": 131.0, "measure": 41.2},
        "versions": {"monosemy": "0.1.0", "torch": "2.13.0"},
        "hardware": {"cpu": "a <b>fast</b> one", "cores": 2},
        "command": ["monosemy", "demo", "--out", "a & b"],
    }  # fmt: skip


@pytest.fixture(scope="session")
def _report() -> dict:
    return _made()


@pytest.fixture
def report(_report) -> dict:
    """A whole report; each test may change its own."""
    return copy.deepcopy(_report)


@pytest.fixture
def bare(report) -> dict:
    """A report with nothing but what it must have."""
    return {key: report[key] for key in ("model", "site", "dictionary", "metrics")}
