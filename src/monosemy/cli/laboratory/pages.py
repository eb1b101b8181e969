"""``monosemy lab pages``: one page a claim."""

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


@click.command("pages", context_settings=CONTEXT_SETTINGS)
@click.argument("names", nargs=-1)
@click.option("--out", type=click.Path(path_type=Path), default=Path("laboratory"), show_default=True,
              help="Folder for the pages.")  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, help="Root of every random draw.")
@json_option
@quiet_option
def command(names: tuple[str, ...], out: Path, seed: int, as_json: bool, quiet: bool) -> None:
    """Measure every claim of the laboratory (or those named) and write a page of each.

    A page has the claim, the reference, our number, a verdict; figures are SVG, their data JSON
    beside them.

    \b
    Examples:
      monosemy lab pages --out docs/laboratory
      monosemy lab pages freedom --out runs/laboratory --json
    """
    quiet_libraries()
    from monosemy.cli.progress import choose
    from monosemy.recipes.laboratory.pages import make_pages
    from monosemy.reports.laboratory import claim_report
    from monosemy.tensors.compute import Compute

    claims = make_pages(out, names, Compute(seed=seed), choose(quiet or as_json))
    if as_json:
        print_json([claim.to_json() for claim in claims])
        return
    from rich.console import Console

    console = Console()
    for claim in claims:
        console.print(claim_report(claim), "")
    click.echo(f"Pages: {out}")
