"""The phase diagram of toy models, all instances at once, against a loop over instances.

Ours is what ``monosemy lab toy phases`` trains: every instance of the diagram (2 features in 1 number,
and 3 in 2) in one loop. The loop is what one writes by hand: for each instance its own parameters, its
own `torch.optim.Adam` and its own steps, with the same batches and the same rate. Ours draws its
batches; the loop is given them, and pays nothing for them. Both take turns; the median round counts.
The loop trains a few instances, and its rate is compared; that both end at the same weights is checked.

    python benchmarks/toy_phases.py [--steps 100] [--some 8] [--rounds 5] [--json FILE]
"""

from __future__ import annotations

import argparse
import tempfile
from functools import partial
from pathlib import Path

import torch
from capture import machine, medians

from monosemy.data.toys import SparseFeatures
from monosemy.foundation.storage import write_json
from monosemy.recipes.laboratory.toy_phases import PhaseSettings, setting
from monosemy.recipes.laboratory.toys import ToySettings, train_toys
from monosemy.tensors.compute import Compute


def ours(features: int, settings: PhaseSettings) -> torch.Tensor:
    """The weights of every instance, trained together."""
    toy, law, importance = setting(features, settings, Compute())
    with tempfile.TemporaryDirectory() as runs:
        train_toys("bench", toy, law, importance, settings.training, Compute(), Path(runs))
    return toy.weights.detach()


def batches(features: int, settings: PhaseSettings, chosen: range) -> list[torch.Tensor]:
    """Of every step, for the chosen instances: those that ours draws."""
    _, law, _ = setting(features, settings, Compute())
    few = SparseFeatures(law.density[list(chosen)])
    return [
        few.draw(settings.training.batch, Compute().generator(f"toy batch {step}"))
        for step in range(settings.training.steps)
    ]


def plain(
    features: int, settings: PhaseSettings, chosen: range, given: list[torch.Tensor]
) -> torch.Tensor:
    """The weights of some instances, one after the other."""
    toy, _, importance = setting(features, settings, Compute())
    training, learned = settings.training, []
    for place, number in enumerate(chosen):
        W = toy.W[number].detach().clone().requires_grad_()
        b = torch.zeros(features, requires_grad=True)
        optimiser = torch.optim.Adam([W, b], lr=training.learning_rate)
        for step in range(training.steps):
            x = given[step][place]
            error = torch.relu(x @ W.T @ W + b) - x
            loss = (error.square() * importance[number]).sum(1).mean()
            for group in optimiser.param_groups:
                group["lr"] = training.learning_rate * (training.steps - step) / training.steps
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        learned.append(W.detach())
    return torch.stack(learned)


def measure(features: int, settings: PhaseSettings, some: int, rounds: int) -> dict:
    instances = settings.cells**2 * settings.fits
    chosen = range(0, instances, max(instances // some, 1))
    loop = partial(plain, features, settings, chosen, batches(features, settings, chosen))
    off = ours(features, settings)[list(chosen)] - loop()
    seconds = medians({"ours": partial(ours, features, settings), "plain": loop}, rounds)
    steps = settings.training.steps
    rate = {
        "ours": instances * steps / seconds["ours"],
        "plain": len(chosen) * steps / seconds["plain"],
    }
    return {
        "features": features, "hidden": features - 1, "instances": instances,
        "instances_in_the_loop": len(chosen), "steps": steps, "batch": settings.training.batch,
        "ours_instance_steps_per_second": round(rate["ours"]),
        "plain_instance_steps_per_second": round(rate["plain"]),
        "ratio": round(rate["ours"] / rate["plain"], 1),
        "largest_difference_of_weights": float(off.abs().max()),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=100, help="training steps of each instance")
    parser.add_argument("--some", type=int, default=8, help="instances that the loop trains")
    parser.add_argument("--rounds", type=int, default=5, help="rounds; the median one counts")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows here as well")
    options = parser.parse_args()
    default = PhaseSettings().training
    settings = PhaseSettings(
        training=ToySettings(options.steps, default.batch, default.learning_rate)
    )
    print(f"{'diagram':<10}{'instances':>10}{'ours':>12}{'loop':>10}{'ratio':>8}  instance-steps/s")
    rows = []
    for features in (2, 3):
        row = measure(features, settings, options.some, options.rounds)
        rows.append(row)
        rates = [row[f"{way}_instance_steps_per_second"] for way in ("ours", "plain")]
        name = f"{features} in {features - 1}"
        print(f"{name:<10}{row['instances']:>10,}{rates[0]:>12,}{rates[1]:>10,}{row['ratio']:>8}",
              flush=True)  # fmt: skip
    if options.json:
        write_json(options.json, {"machine": machine(), "rounds": options.rounds, "rows": rows})


if __name__ == "__main__":
    main()
