"""``monosemy lab norms``: what local normalisation keeps apart, and what it costs."""

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


@click.command("norms", context_settings=CONTEXT_SETTINGS)
@click.option("--toy", is_flag=True, help="Only the toy and the folds: seconds instead of minutes.")
@click.option("--steps", type=int, default=500, show_default=True, help="Updates of each model.")
@click.option("--seeds", type=int, default=3, show_default=True, help="Models of each norm.")
@click.option(
    "--pools", type=int, default=8, show_default=True, help="Pools of the divisive norms."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Root of every random draw.")
@click.option("--out", type=click.Path(path_type=Path),
              help="Folder for norms.json and the figures.")  # fmt: skip
@json_option
@quiet_option
def command(
    toy: bool, steps: int, seeds: int, pools: int, seed: int, out: Path | None, as_json: bool,
    quiet: bool,
) -> None:  # fmt: skip
    """Compare LayerNorm, RMSNorm, divisive pools and no norm.

    A toy with two subspaces shows whether the gain of one reaches what is read from the other. Then
    the specimen's architecture is trained with each norm, small and short, and its loss,
    superposition and features are compared, paired by seed (about ten minutes on one core).

    \b
    Examples:
      monosemy lab norms --toy
      monosemy lab norms --out runs/norms
      monosemy lab norms --steps 100 --seeds 2 --json
    """
    quiet_libraries()
    from monosemy.cli.progress import choose
    from monosemy.foundation import storage
    from monosemy.recipes.laboratory.norm_models import NormsConfig
    from monosemy.recipes.laboratory.norms import claim_of, measure_norms, pictures
    from monosemy.reports.laboratory import claim_report
    from monosemy.tensors.compute import Compute

    config = NormsConfig(seeds=tuple(range(seeds)), steps=steps, pools=pools)
    compute = Compute(seed=seed)
    found = measure_norms(compute, None if toy else config, choose(quiet or as_json))
    claim = claim_of(found, config, compute)
    value = {**claim.to_json(), **found.to_json()}
    if out:
        storage.write_json(out / "norms.json", value)
        for picture in pictures(found):
            storage.write_text(out / f"{picture.name}.svg", picture.svg)
    if as_json:
        print_json(value)
        return
    from rich.console import Console

    Console().print(claim_report(claim))
    if out:
        click.echo(f"Figures and numbers: {out}")
