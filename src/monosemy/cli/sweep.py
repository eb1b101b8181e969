"""``monosemy sweep RECIPE``: several dictionaries from one stream."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from monosemy.cli.options import (
    CONTEXT_SETTINGS,
    json_option,
    parse_changes,
    print_json,
    quiet_libraries,
    quiet_option,
)
from monosemy.cli.train import shortcuts


@click.command("sweep", context_settings=CONTEXT_SETTINGS)
@click.argument("recipe", default="demo")
@click.option("--over", multiple=True, metavar="KEY=A,B,C",
              help="Values of a key; several keys give every combination.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), help="Folder [runs/RECIPE-sweep].")
@click.option(
    "--set", "changes", multiple=True, metavar="KEY=VALUE", help="Any field, for all of them."
)
@click.option("--heldout", type=int, default=150_000, show_default=True, help="Held-out tokens.")
@click.option("--dry-run", is_flag=True, help="Print names, sizes and memory; train nothing.")
@shortcuts
@json_option
@quiet_option
def command(
    recipe: str,
    over: tuple[str, ...],
    out: Path | None,
    changes: tuple[str, ...],
    heldout: int,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
    **flags: str | None,
) -> None:
    """Learn several dictionaries from one stream by RECIPE, and measure them side by side.

    Each differs from RECIPE in the keys given by --over, or by the tables [sweep] and [[variant]]
    of a TOML recipe. The model is read once for all. Every dictionary gets a folder of its own
    under --out, as after a training alone, beside sweep.json and pareto.svg. Run the same command
    again after a stop and it goes on from the last checkpoint.

    \b
    Examples:
      monosemy sweep demo --over k=16,32,64 --over seed=0,1 --out runs/sparsity
      monosemy sweep relu --over objective.l1=0.05,0.1,0.2 --tokens 500000
      monosemy sweep my.toml --dry-run
      monosemy evaluate runs/sparsity/k=16,seed=0
    """
    quiet_libraries()
    from monosemy.recipes.sweep import find_sweep, parse_over

    given = {name: value for name, value in flags.items() if value is not None}
    found = find_sweep(recipe, parse_over(over), {**given, **parse_changes(changes)})
    if dry_run:
        _print_plan(found, as_json)
        return
    folder = out or Path("runs") / f"{Path(recipe.partition(':')[0]).stem}-sweep"
    _run(found, folder, heldout, as_json, quiet)


def _run(sweep: Any, folder: Path, heldout: int, as_json: bool, quiet: bool) -> None:
    from monosemy.cli.progress import choose
    from monosemy.recipes.sweeping import run_sweep

    report = run_sweep(sweep, folder, heldout, choose(quiet or as_json))
    if as_json:
        print_json(report)
        return
    from rich.console import Console

    from monosemy.reports.pareto import table

    console = Console()
    console.print(table(report, console.width))
    click.echo(
        "Each number on held-out text, with its 95 % interval over documents.\n"
        f"Figure: {folder / 'pareto.svg'}; numbers: {folder / 'sweep.json'}"
    )


def _print_plan(sweep: Any, as_json: bool) -> None:
    from monosemy.recipes.sweep_places import plan_sweep

    made = plan_sweep(sweep)
    if as_json:
        print_json(made)
        return
    memory = made["memory_mib"]
    parts = ", ".join(f"{name} {size:,}" for name, size in memory.items() if name != "total")
    for one in made["dictionaries"]:
        click.echo(
            f"{one['name']}: {one['parameters']:,} parameters, about {one['memory_mib']:,} MiB"
        )
    click.echo(
        f"steps       {made['steps']:,} of {sweep.base.batch:,} activations, for all of them\n"
        f"memory      about {memory['total']:,} MiB ({parts})"
    )
