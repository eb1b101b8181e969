"""``monosemy lab freedom``: how many directions a normalised stream has."""

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


@click.command("freedom", context_settings=CONTEXT_SETTINGS)
@click.option("--width", type=int, default=64, show_default=True, help="Axes of the toy's stream.")
@click.option("--pools", type=int, help="Pools of the divisive norms [as fit the width, up to 8].")
@click.option("--sigma", type=float, default=0.0, show_default=True,
              help="Of the divisive norms; above 0 their radii are free.")  # fmt: skip
@click.option("--draws", type=int, default=5, show_default=True, help="Sets of random keys.")
@click.option("--keys", type=int, default=60, show_default=True, help="Keys in a set.")
@click.option("--model", default="", help="Measure the norms of this model too.")
@click.option("--site", default="",
              help="One norm of it by module path, or a site of its stream [every norm].")  # fmt: skip
@click.option("--text", default="stdlib", show_default=True, help="What the model reads.")
@click.option("--tokens", type=int, default=4096, show_default=True, help="How many of it.")
@click.option("--seed", type=int, default=0, show_default=True, help="Root of every random draw.")
@click.option("--out", type=click.Path(path_type=Path),
              help="Folder for freedom.json and the figure.")  # fmt: skip
@json_option
@quiet_option
def command(
    width: int, pools: int | None, sigma: float, draws: int, keys: int, model: str, site: str,
    text: str, tokens: int, seed: int, out: Path | None, as_json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Measure how many directions norms leave a stream.

    Span is the rank of the outputs, intrinsic dimension the rank of the norm's Jacobian; of random
    keys, the share that no query can prefer to all others. With --model, the same of what goes
    through each of a model's norms, with participation ratio and TwoNN.

    \b
    Examples:
      monosemy lab freedom --width 64 --json
      monosemy lab freedom --width 12 --pools 3 --sigma 0.5
      monosemy lab freedom --model specimen --out runs/freedom
      monosemy lab freedom --model gpt2 --site transformer.h.0.ln_1
    """
    quiet_libraries()
    from monosemy.cli.progress import choose
    from monosemy.foundation import storage
    from monosemy.recipes.laboratory.freedom import (
        FreedomConfig,
        claim_of,
        even_pools,
        measure_freedom,
        picture,
    )
    from monosemy.reports.laboratory import claim_report
    from monosemy.tensors.compute import Compute

    pools = even_pools(width) if pools is None else pools
    config = FreedomConfig(width, pools, sigma, draws, keys, model, site, text, tokens)
    compute = Compute(seed=seed)
    found = measure_freedom(config, compute, choose(quiet or as_json))
    if out:
        drawn = picture(found)
        storage.write_text(out / f"{drawn.name}.svg", drawn.svg)
        storage.write_json(out / "freedom.json", found.to_json())
    if as_json:
        print_json(found.to_json())
        return
    from rich.console import Console

    Console().print(claim_report(claim_of(found, compute, {})))
    if out:
        click.echo(f"Figure and numbers: {out}")
