"""The command line as a person meets it: words in, exit code and two streams out."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from monosemy.cli import main
from monosemy.data.text import Corpus, Document, split_of

WORDS = ["def", "return", "self", "import", "naïve", "the", "of", "print(", ")", "\n    ", "x = 1"]


class Said(NamedTuple):
    """What came of a command."""

    code: int
    out: str
    err: str


@pytest.fixture
def monosemy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path
) -> Callable[..., Said]:
    """Runs the command line in an empty folder, through the very function that a shell starts."""
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["monosemy", *map(str, words)])
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = stop.code
        return Said(code, *capsys.readouterr())

    return run


def _text(count: int, seed: int) -> str:
    draw = torch.Generator().manual_seed(seed)
    return " ".join(WORDS[i] for i in torch.randint(len(WORDS), (count,), generator=draw))


@pytest.fixture(scope="session")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of thirty texts, five of them held out."""
    folder = tmp_path_factory.mktemp("texts")
    names = [f"{i}.txt" for i in range(200)]
    heldout = [name for name in names if split_of(name) == "heldout"][:5]
    train = [name for name in names if split_of(name) == "train"][:25]
    for i, name in enumerate(train + heldout):
        (folder / name).write_text(_text(15 + i, seed=i), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The specimen in miniature, made as the specimen is, from a few invented modules."""
    from monosemy.recipes import specimen
    from monosemy.training.optim import OptimConfig

    def library(source: str, split: str) -> Corpus:
        numbers = range(12) if split == "train" else range(12, 16)
        return Corpus(source, split, tuple(Document(f"{i}.py", _text(60, i)) for i in numbers))

    recipe = specimen.SpecimenRecipe(
        vocabulary=257, width=16, heads=2, neurons=32, context=32, steps=30, batch=4,
        autocast="float32", optim=OptimConfig(learning_rate=0.02),
    )  # fmt: skip
    run = tmp_path_factory.mktemp("specimens") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(specimen, "open_corpus", library)
        specimen.train_specimen(recipe, run)
    return run / "model"


@pytest.fixture
def small(model: Path, text: Path) -> tuple[str, ...]:
    """The words that make a training tiny: sixteen updates of a dictionary of 32."""
    flags = {
        "model": model, "text": text, "latents": 32, "k": 4, "tokens": 512, "batch": 32,
    }  # fmt: skip
    options = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    return (*options, "--set", "context=16", "--set", "block=128")
