"""``monosemy truth``: dictionaries of worlds whose features are known, and what they found."""

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

_PROTOCOL = {
    "tokens": (int, "Samples to learn from."),
    "latents": (int, "Size of the dictionary."),
    "l0": (float, "Active latents a sample; the true L0, where left out."),
    "batch": (int, "Samples in an update."),
    "learning_rate": (float, "Of kinds that ask for no other."),
    "samples": (int, "Fresh samples to measure on."),
}


def _conditions(function: Any) -> Any:
    """The flags that change a world's protocol, and the recipe, and where it runs."""
    for name, (kind, text) in reversed(_PROTOCOL.items()):
        flag = f"--{name.replace('_', '-')}"
        function = click.option(flag, name, type=kind, help=text)(function)
    options = (
        click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:N or mps."),
        click.option("--set", "settings", multiple=True, metavar="KEY=VALUE",
                     help="Any field of the recipe; see: monosemy train --list"),
    )  # fmt: skip
    for option in options:
        function = option(function)
    return function


@click.group("truth", context_settings=CONTEXT_SETTINGS)
def command() -> None:
    """Learn dictionaries of worlds whose features are known, and say which features they found.

    A world draws activations from features that it knows: their directions, how often they fire,
    which need which. A dictionary sees the activations alone.

    \b
    Examples:
      monosemy truth worlds
      monosemy truth run conditional-rotated --dictionary batchtopk --seed 0 --json
      monosemy truth table conditional-rotated --seeds 5 --jobs 2 --out runs/rotated
    """


@command.command("worlds", context_settings=CONTEXT_SETTINGS)
@json_option
def worlds(as_json: bool) -> None:
    """List the worlds that have names, and the dictionaries that can be compared on them.

    \b
    Examples:
      monosemy truth worlds
      monosemy truth worlds --json
    """
    from monosemy.data.features.worlds import WORLDS
    from monosemy.recipes.truth_arms import ARMS
    from monosemy.recipes.truth_kinds import KINDS

    kinds = {name: kind.about for name, kind in KINDS.items()}
    kinds |= {name: (arm.__doc__ or "").strip().splitlines()[0] for name, arm in ARMS.items()}
    if as_json:
        print_json({"worlds": WORLDS, "dictionaries": kinds})
        return
    for title, found in (("Worlds", WORLDS), ("Dictionaries", kinds)):
        click.echo(f"{title}:")
        for name, about in found.items():
            click.echo(f"  {name:<24} {about}")


@command.command("run", context_settings=CONTEXT_SETTINGS)
@click.argument("world")
@click.option("--dictionary", "kind", default="batchtopk", show_default=True,
              help="What is to learn; see: monosemy truth worlds")  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, help="Root of every random draw.")
@click.option("--out", type=click.Path(path_type=Path),
              help="Keep the run and the dictionary here, and the result as cell.json.")  # fmt: skip
@_conditions
@json_option
@quiet_option
def run(
    world: str, kind: str, seed: int, out: Path | None, settings: tuple[str, ...], device: str,
    as_json: bool, quiet: bool, **changes: Any,
) -> None:  # fmt: skip
    """Learn one dictionary of WORLD and measure which features it found, on fresh samples.

    Every number that is made of samples has a 95 % bootstrap interval over them. With --out, the
    same command goes on after a stop.

    \b
    Examples:
      monosemy truth run conditional-rotated --dictionary matryoshka --seed 1
      monosemy truth run conditional-rotated --dictionary oracle --json
      monosemy truth run synthsaebench-2k --dictionary lista_matryoshka --tokens 2000000 --out runs/cell
      monosemy truth run conditional-analogy --set objective.k_start=8 --set optim.clip=0.5
    """
    quiet_libraries()
    from monosemy.cli.progress import choose
    from monosemy.foundation import storage
    from monosemy.recipes.truth import run_cell

    found = run_cell(
        world, kind, seed, changes, parse_changes(settings), out, device, choose(quiet or as_json)
    )
    if out:
        storage.write_json(out / "cell.json", found)
    if as_json:
        print_json(found)
        return
    from monosemy.reports.truth import cell_lines

    click.echo("\n".join(cell_lines(found)))


@command.command("table", context_settings=CONTEXT_SETTINGS)
@click.argument("world")
@click.option("--dictionary", "kinds", multiple=True,
              help="One that is to be compared; repeat it for several [all of them].")  # fmt: skip
@click.option("--seeds", type=int, default=5, show_default=True, help="How many, from 0 on.")
@click.option("--jobs", type=int, default=1, show_default=True, help="Cells side by side.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder [truth/WORLD].")
@_conditions
@json_option
@quiet_option
def table(
    world: str, kinds: tuple[str, ...], seeds: int, jobs: int, out: Path | None,
    settings: tuple[str, ...], device: str, as_json: bool, quiet: bool, **changes: Any,
) -> None:  # fmt: skip
    """Compare dictionaries of WORLD over seeds: a table, a figure, every cell kept on its own.

    Dictionaries with one seed see the same samples of the same world, so that their differences
    are paired. Stopped and run again, it goes on where it was.

    \b
    Examples:
      monosemy truth table conditional-rotated --jobs 2 --out runs/rotated
      monosemy truth table conditional-rotated --dictionary batchtopk --dictionary random --seeds 3
      monosemy truth table synthsaebench-2k --tokens 2000000 --json
    """
    quiet_libraries()
    from monosemy.cli.progress import choose
    from monosemy.foundation import storage
    from monosemy.recipes.truth_table import run_table
    from monosemy.reports import truth as reports

    folder = out or Path("truth") / world
    report = run_table(
        world, kinds, seeds, changes, parse_changes(settings), folder, jobs, device,
        choose(quiet or as_json),
    )  # fmt: skip
    storage.write_text(folder / "table.svg", reports.svg(report))
    storage.write_bytes(folder / "table.png", reports.png(report))
    if as_json:
        print_json(report)
        return
    from rich.console import Console

    console = Console()
    console.print(reports.table(report, console.width))
    click.echo(
        f"Means over {len(report['seeds'])} seeds (± Student's 95 %). "
        f"Figure: {folder / 'table.svg'}; numbers: {folder / 'table.json'}"
    )
