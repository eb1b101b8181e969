"""Choosing, assigning and training: rules, arms of one size, curves that resume."""

import json

import pytest
import torch

from monosemy.foundation.errors import Interrupted, UserError
from monosemy.growth.arms import ARMS
from monosemy.recipes.allocation import (
    AllocationConfig,
    arm,
    assign,
    moved_at_once,
    open_texts,
    pick,
    train_arm,
    trainable,
)
from monosemy.recipes.allocation_ground import open_ground
from monosemy.recipes.specimen import cross_entropy

CONFIG = AllocationConfig(count=2, tokens=2000, heldout=1000, loss_tokens=500, steps=4, moving=2,
                          batch=2, autocast="float32")  # fmt: skip


@pytest.fixture(scope="module")
def ground(allocation_run):
    return open_ground(allocation_run, 2000, 1000)


@pytest.fixture(scope="module")
def alive(ground):
    return ground.density.topk(2).indices.tolist()


@pytest.fixture(scope="module")
def assignment(ground, alive):
    return assign(ground, pick(ground, CONFIG, alive), CONFIG)


@pytest.mark.parametrize("by", ["density", "interference", "burden", "chance"])
def test_every_rule_chooses(ground, by, monkeypatch):
    monkeypatch.setattr("monosemy.growth.choosing.MOST", 0.9)
    from dataclasses import replace

    chosen = pick(ground, replace(CONFIG, by=by))
    assert len(set(chosen.names)) == 2
    density = ground.density[[int(name) for name in chosen.names]]
    assert (density > 0).all()
    if by == "density":
        assert torch.equal(density.sort().values, ground.density.topk(2).values.sort().values)


def test_arms_have_one_size_and_begin_with_one_loss(ground, alive, assignment):
    chosen, texts = pick(ground, CONFIG, alive), open_texts(ground, CONFIG)
    base = cross_entropy(ground.model, texts.heldout)
    sizes = set()
    for name in ARMS:
        model, moved = arm(name, ground, chosen, assignment, CONFIG)
        sizes.add(sum(p.numel() for p in model.parameters()))
        assert cross_entropy(model, texts.heldout) == pytest.approx(base, abs=1e-5)
        assert (moved is None) == (name == "widened")
    assert len(sizes) == 1
    assert sizes.pop() > sum(p.numel() for p in ground.model.parameters())
    assert moved_at_once(ground, assignment, texts) != pytest.approx(base, abs=1e-9)


def test_a_stopped_training_goes_on_to_the_same_weights(
    ground, alive, assignment, tmp_path, monkeypatch
):
    chosen, texts = pick(ground, CONFIG, alive), open_texts(ground, CONFIG)
    whole, moved = arm("allocated", ground, chosen, assignment, CONFIG)
    curve = train_arm(whole, moved, texts, CONFIG, tmp_path / "whole", {})
    assert moved.share == 1.0
    assert [point["tokens"] for point in curve] == [0, 64, 128, 192, 256]

    from monosemy.training import moving

    real, calls = moving.LearnWhileMoving.loss, []

    def stops(self, batch):
        import os
        import signal

        calls.append(1)
        if len(calls) == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return real(self, batch)

    monkeypatch.setattr(moving.LearnWhileMoving, "loss", stops)
    import signal

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        first, at = arm("allocated", ground, chosen, assignment, CONFIG)
        with pytest.raises(Interrupted):
            train_arm(first, at, texts, CONFIG, tmp_path / "two", {})
        second, at = arm("allocated", ground, chosen, assignment, CONFIG)
        again = train_arm(second, at, texts, CONFIG, tmp_path / "two", {})
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(calls) == 4
    assert json.dumps(again) == json.dumps(curve)
    for a, b in zip(whole.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_model_as_it_is_learns_too(ground, tmp_path):
    model = trainable(ground.model)
    texts = open_texts(ground, CONFIG)
    before = [p.detach().clone() for p in model.parameters()]
    train_arm(model, None, texts, CONFIG, tmp_path / "run", {"arm": "continued"})
    assert any(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert not any(p.requires_grad for p in ground.model.parameters())


def test_all_mistakes_are_told_at_once():
    wrong = AllocationConfig(count=0, by="size", own=0, steps=5, moving=9, batch=0, learning_rate=0,
                             autocast="int4")  # fmt: skip
    told = "\n".join(wrong.problems())
    for part in ("count = 0", "own = 0", "batch = 0", "moving = 9 of 5", "learning_rate = 0",
                 "choose by 'size'", "autocast = 'int4'"):  # fmt: skip
        assert part in told


def test_unknown_features_are_refused(ground):
    with pytest.raises(UserError, match="feature 64: this dictionary has features 0 to 63"):
        pick(ground, CONFIG, [64])
