"""Small models under each norm: the same beginning, measured alike."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from monosemy.data.text import Corpus, Document
from monosemy.foundation.errors import UserError
from monosemy.foundation.progress import SILENT
from monosemy.recipes.laboratory import norm_models
from monosemy.recipes.laboratory.norm_models import (
    NormsConfig,
    compare_norms,
    learn_dictionary,
    overlap,
)
from monosemy.tensors.compute import Compute

WORDS = ["def", "return", "self", "import", "naïve", "the", "of", "print(", ")", "\n    ", "x = 1"]
TINY = NormsConfig(
    kinds=("layernorm", "divisive", "none"), seeds=(0, 1), vocabulary=270, width=16, neurons=32,
    context=16, steps=25, batch=4, pools=4, heldout=1000, latents=32, k=4, dictionary_steps=5,
)  # fmt: skip


def text(count, seed):
    draw = torch.Generator().manual_seed(seed)
    return " ".join(WORDS[i] for i in torch.randint(len(WORDS), (count,), generator=draw))


@pytest.fixture
def small_text(monkeypatch):
    def corpus(source, split):
        numbers = range(20) if split == "train" else range(20, 26)
        return Corpus(source, split, tuple(Document(f"{i}.py", text(60, i)) for i in numbers))

    monkeypatch.setattr(norm_models, "open_corpus", corpus)


def test_every_norm_learns_and_is_measured_and_repeats(small_text):
    found = compare_norms(TINY, Compute())
    assert [(one.seed, one.kind) for one in found] == [
        (seed, kind) for seed in (0, 1) for kind in TINY.kinds
    ]
    for one in found:
        assert one.loss < math.log(270)  # of a uniform guess
        assert one.numbers["explained_variance"] < 1
        assert 0 < one.numbers["participation_W_out"] <= 1
        assert one.numbers["overlap_embeddings"] > 0
    assert len({one.loss for one in found}) == len(found)
    assert found[0].to_json()["norm"] == "layernorm"
    (again, *_) = compare_norms(replace(TINY, kinds=("layernorm",)), Compute())
    assert again.loss == found[0].loss


def test_overlap_of_random_and_of_orthogonal_rows():
    draw = torch.Generator().manual_seed(0)
    assert overlap(torch.randn(800, 20, generator=draw)) * 20 == pytest.approx(1, abs=0.02)
    assert overlap(torch.eye(6)) == 0
    assert overlap(torch.ones(5, 3)) == pytest.approx(1)


def test_the_small_dictionary_learns_planted_directions():
    draw = torch.Generator().manual_seed(0)
    directions = torch.eye(8)
    codes = torch.rand(4000, 8, generator=draw) * (torch.rand(4000, 8, generator=draw) < 0.1)
    rows = codes @ directions

    def left(steps):
        with SILENT.task("", 1) as task:
            learned = learn_dictionary(rows, 16, 3, steps, Compute(), task)
        return float((rows - learned(rows)).square().sum() / (rows - rows.mean(0)).square().sum())

    assert left(100) < 0.5 * left(1)


def test_refusals():
    with pytest.raises(UserError) as told:
        NormsConfig(kinds=("rmsnorm", "divisiv"), seeds=(1, 1), pools=7, steps=0)
    for reason in (
        "unknown norm 'divisiv'", "did you mean 'divisive'", "leaves out layernorm",
        "an interval needs at least two different ones", "pools = 7 do not divide width = 64",
        "steps = 0; wanted at least 1",
    ):  # fmt: skip
        assert reason in str(told.value)
