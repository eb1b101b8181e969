"""``monosemy demo``: the main job on the embedded model."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from monosemy.cli.options import (
    CONTEXT_SETTINGS,
    json_option,
    parse_changes,
    print_json,
    quiet_libraries,
    quiet_option,
)


@click.command("demo", context_settings=CONTEXT_SETTINGS)
@click.option("--out", type=click.Path(path_type=Path), help="Keep everything here [a new folder].")
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change the recipe.")
@json_option
@quiet_option
def command(out: Path | None, changes: tuple[str, ...], as_json: bool, quiet: bool) -> None:
    """The main job, start to end, offline: train, measure, look.

    A 4,096-latent BatchTopK dictionary (k = 16) on the 512 MLP neurons of the language model that
    ships inside, read while it reads the Python standard library. Then the table of measurements
    with controls, a dozen features, and a self-contained page with the same and more.

    \b
    Examples:
      monosemy demo
      monosemy demo --out demo
      monosemy demo --out small --set tokens=200000 --set latents=1024
    """
    quiet_libraries()
    from monosemy.cli.progress import choose
    from monosemy.recipes import config
    from monosemy.recipes.catalogue import demo
    from monosemy.recipes.demo import run_demo
    from monosemy.recipes.recipe import check

    recipe = config.override(demo(), parse_changes(changes))
    check(recipe)
    folder = out or Path(tempfile.mkdtemp(prefix="monosemy-demo-"))
    report = run_demo(folder, recipe, choose(quiet or as_json))
    if as_json:
        print_json(report)
        return
    from rich.console import Console

    from monosemy.reports.terminal import features, measurements

    console = Console()
    console.print(measurements(report))
    console.print(features(report))
    console.print(
        f"\n{report['seconds']:.0f} seconds. The page: {(folder / 'report.html').resolve()}"
    )
