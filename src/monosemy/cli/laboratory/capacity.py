"""``monosemy lab capacity``: how many features fit into so many axes."""

from __future__ import annotations

from pathlib import Path

import click

from monosemy.cli.options import (
    CONTEXT_SETTINGS,
    json_option,
    print_json,
    quiet_libraries,
    quiet_option,
)


@click.command("capacity", context_settings=CONTEXT_SETTINGS)
@click.option("--width", type=int, default=512, show_default=True, help="Axes.")
@click.option("--features", type=int, default=4096, show_default=True, help="How many are wanted.")
@click.option("--k", type=int, default=15, show_default=True, help="Active at once.")
@click.option("--tolerance", type=float, default=0.2, show_default=True,
              help="Largest |cos| that counts as almost orthogonal.")  # fmt: skip
@click.option("--failure", type=float, default=0.01, show_default=True,
              help="Chance that a random code is worse.")  # fmt: skip
@click.option("--success", type=float, default=0.5, show_default=True,
              help="Chance that a readout finds all active features.")  # fmt: skip
@click.option("--calculate", is_flag=True, help="Only the sums: at once, without the experiment.")
@click.option("--samples", type=int, default=100, show_default=True,
              help="Mixtures of each of three dictionaries, at each k.")  # fmt: skip
@click.option("--model", default="", help="Measure the capacities of this model's matrices too.")
@click.option("--seed", type=int, default=0, show_default=True, help="Root of every random draw.")
@click.option("--out", type=click.Path(path_type=Path),
              help="Folder for capacity.json and the figures.")  # fmt: skip
@json_option
@quiet_option
def command(
    width: int, features: int, k: int, tolerance: float, failure: float, success: float,
    calculate: bool, samples: int, model: str, seed: int, out: Path | None, as_json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Work out how many features fit, and draw dictionaries to see whether it is so.

    The sums: Welch's bound, random codes, compressed sensing, one linear readout. The experiment, on
    512 features in 64 axes: which of k active features are found by one readout, one LISTA step and
    matching pursuit.

    \b
    Examples:
      monosemy lab capacity --calculate
      monosemy lab capacity --width 768 --features 24576 --k 32 --calculate --json
      monosemy lab capacity --model specimen --out runs/capacity
    """
    quiet_libraries()
    from monosemy.cli.progress import choose
    from monosemy.foundation import storage
    from monosemy.recipes.laboratory import capacity as recipe
    from monosemy.recipes.laboratory.model_capacity import measure_model
    from monosemy.reports.capacity import calculator_report, matrices_report
    from monosemy.reports.laboratory import claim_report
    from monosemy.superposition.recovery import RecoveryConfig
    from monosemy.tensors.compute import Compute

    asked = recipe.CapacityConfig(
        width, features, k, tolerance, failure, success, RecoveryConfig(samples=samples)
    )
    compute, sums, progress = Compute(seed=seed), recipe.calculate(asked), choose(quiet or as_json)
    matrices = measure_model(model, compute, progress) if model else []
    found = None if calculate else recipe.experiment(asked, compute, progress)
    claim = recipe.claim_of(asked, found, compute, matrices, model) if found else None
    value = {
        "calculator": sums,
        "matrices": matrices,
        "experiment": found.to_json() if found else None,
        "claim": claim.to_json() if claim else None,
    }
    if out:
        storage.write_json(out / "capacity.json", value)
        for picture in recipe.pictures(asked, found):
            storage.write_text(out / f"{picture.name}.svg", picture.svg)
    if as_json:
        print_json(value)
        return
    from rich.console import Console

    console = Console()
    console.print(calculator_report(recipe.rows_of(sums)))
    if matrices and not claim:
        console.print("", matrices_report(matrices))
    if claim:
        console.print("", claim_report(claim))
    if out:
        click.echo(f"Figures and numbers: {out}")
