"""Toys learn in the one loop: independently, traced, and bit for bit after a stop."""

from __future__ import annotations

import pytest
import torch

from monosemy.data.toys import SparseFeatures, ToyStream, densities
from monosemy.foundation.errors import Interrupted
from monosemy.models.toy import TiedToy
from monosemy.tensors.compute import Compute
from monosemy.training import loop
from monosemy.training.journal import Journal
from monosemy.training.loop import Program, Rhythm, Training, fit
from monosemy.training.optim import OptimConfig, Optimiser
from monosemy.training.toys import LearnToys, held_out

LAW = SparseFeatures(densities([0.2, 0.9], 3, fits=2))
IMPORTANCE = torch.tensor([[1.0, 0.5, 0.25]])


def training(law=LAW, state=None, trace=0, steps=20) -> Training:
    toy = TiedToy(len(law.density), 3, 2, torch.Generator().manual_seed(0))
    if state is not None:
        toy.load_state_dict(state)
    optim = OptimConfig(learning_rate=0.01, clip=0.0)
    program = LearnToys(toy, IMPORTANCE, trace)
    return Training(program, Optimiser(toy.parameters(), optim, steps),
                    ToyStream(law, 32, Compute()), steps, Rhythm(10, 10))  # fmt: skip


def test_the_loss_is_the_weighted_error_summed_over_instances():
    program = training().program
    assert isinstance(program, Program)
    x = next(ToyStream(LAW, 5, Compute()))
    plain = sum(
        float(weight) * float((y - wanted).detach() ** 2)
        for got, given in zip(program.module(x), x, strict=True)
        for answer, sample in zip(got, given, strict=True)
        for y, wanted, weight in zip(answer, sample, IMPORTANCE[0], strict=True)
    )
    assert program.loss(x)[0].item() == pytest.approx(plain / 5, rel=1e-5)
    assert float(held_out(program, [x, x]).sum()) == pytest.approx(plain / 5, rel=1e-5)


def test_an_instance_learns_in_company_what_it_learns_alone(tmp_path):
    together = training()
    begin = {name: value.clone() for name, value in together.program.module.state_dict().items()}
    fit(together, Journal(tmp_path / "together", {}))
    part = {name: value[2:3] for name, value in begin.items()}
    alone = training(SparseFeatures(LAW.density[2:3]), part)
    fit(alone, Journal(tmp_path / "alone", {}))
    learned, single = together.program.module.W[2], alone.program.module.W[0]
    assert torch.allclose(learned, single, atol=1e-5)
    assert not torch.allclose(learned, begin["W"][2], atol=1e-2)


def test_learning_lowers_the_loss_and_is_traced(tmp_path):
    run = training(trace=10, steps=200)
    fit(run, Journal(tmp_path / "run", {}))
    assert len(run.program.trace) == 20
    first = run.program.trace[0]
    assert set(first) == {"W", "b"}
    x = LAW.draw(2000, torch.Generator().manual_seed(1))
    now = held_out(run.program, [x])
    run.program.module.load_state_dict(first)
    assert (now < 0.7 * held_out(run.program, [x])).all()


def test_a_stopped_training_goes_on_bit_for_bit(tmp_path, monkeypatch):
    whole = training(trace=5)
    fit(whole, Journal(tmp_path / "whole", {}))
    stopped, steps = training(trace=5), iter(range(100))

    class Ask:
        def __enter__(self):
            return lambda: next(steps) == 12

        def __exit__(self, *_):
            return False

    with monkeypatch.context() as patch:
        patch.setattr(loop, "stop_requests", Ask)
        with pytest.raises(Interrupted):
            fit(stopped, Journal(tmp_path / "part", {}))
    again = training(trace=5)
    fit(again, Journal(tmp_path / "part", {}))
    assert torch.equal(again.program.module.W, whole.program.module.W)
    assert len(again.program.trace) == len(whole.program.trace) == 4
    assert torch.equal(again.program.trace[3]["W"], whole.program.trace[3]["W"])
