"""A dictionary without any model: find the sparse parts that a matrix of numbers is made of.

    python examples/any_matrix.py

The rows here are made up, so that the truth is known: 96 directions in 32 dimensions, about three
of them active in a row. To use your own numbers, put them into `rows` and `unseen`.
"""

import torch

from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.selection import BatchTopK
from monosemy.evaluation.controls import controls_at
from monosemy.tensors.compute import Compute
from monosemy.training.loop import advance_program
from monosemy.training.objectives import LearnDictionary, ObjectiveConfig
from monosemy.training.optim import OptimConfig, Optimiser
from monosemy.training.start import look, sample_directions

STEPS, BATCH, LATENTS, K = 500, 256, 128, 3


def make_rows(draw: torch.Generator, truth: torch.Tensor, count: int) -> torch.Tensor:
    """Sums of about three of the true directions, with positive weights."""
    chance, weight = torch.rand(2, count, len(truth), generator=draw)
    return ((chance < 3 / len(truth)) * (0.5 + weight)) @ truth


def learn(rows: torch.Tensor, draw: torch.Generator) -> FlatDictionary:
    """What `monosemy train` does at every site, written out: start, steps, units folded back."""
    start = look(rows)
    directions = sample_directions(start.centred(rows), LATENTS, draw)
    dictionary = FlatDictionary.tied(directions, start.offset, BatchTopK(K))
    program = LearnDictionary(dictionary.train(), start, ObjectiveConfig(dead_after=20_000))
    optimiser = Optimiser(dictionary.parameters(), OptimConfig(learning_rate=3e-3), STEPS)
    for step in range(STEPS):
        chosen = torch.randint(len(rows), (BATCH,), generator=draw)
        advance_program(program, optimiser, rows[chosen], step)
    return program.result()


def main() -> None:
    """Learn from some rows, compare with the controls on others."""
    compute = Compute(seed=0)
    draw = compute.generator("any matrix")
    truth = torch.nn.functional.normalize(torch.randn(96, 32, generator=draw), dim=1)
    rows, unseen = make_rows(draw, truth, 20_000), make_rows(draw, truth, 5_000)
    dictionary = learn(rows, draw)
    l0 = float(dictionary.code(unseen).counts.float().mean())
    variance = (unseen - unseen.mean(0)).square().sum()
    for name, one in {"dictionary": dictionary, **controls_at(rows, l0, LATENTS, compute)}.items():
        explained = 1 - (unseen - one(unseen)).square().sum() / variance
        active = float(one.code(unseen).counts.float().mean())
        print(f"{name:<11} L0 {active:.2f}   explained variance {explained:.3f}")
    found = (truth @ dictionary.directions().T).max(1).values
    print(f"\n{int((found > 0.9).sum())} of {len(truth)} true directions found (cosine above 0.9)")


if __name__ == "__main__":
    main()
