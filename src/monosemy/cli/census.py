"""``monosemy census MODEL...``: axes, units and neurons, from configurations alone."""

from __future__ import annotations

from pathlib import Path

import click

from monosemy.cli.options import CONTEXT_SETTINGS, json_option, print_json


@click.command("census", context_settings=CONTEXT_SETTINGS)
@click.argument("models", nargs=-1)
@click.option("--out", type=click.Path(path_type=Path),
              help="Folder for census.svg and census.json, models beside nervous systems.")  # fmt: skip
@json_option
def command(models: tuple[str, ...], out: Path | None, as_json: bool) -> None:
    """Count axes, units, neurons, parameters and degrees of freedom of each MODEL.

    MODEL is a name of the built-in table of published models, 'specimen', or a folder with
    config.json; without MODEL, the whole table. Configurations alone are read: no weights, no
    network. Units are layers times width; MLP neurons are mostly four times as many, and both are
    set beside the neurons of nervous systems.

    \b
    Examples:
      monosemy census
      monosemy census gpt-3 palm-540b
      monosemy census specimen --json
      monosemy census gpt2 llama-3-8b gpt-3 --out runs/census
    """
    from monosemy.models.census import count

    found = count(models)
    if out:
        from monosemy.foundation import storage
        from monosemy.reports import census as reports

        storage.write_text(out / "census.svg", reports.svg(found))
        storage.write_json(out / "census.json", reports.figure_data(found))
    if as_json:
        print_json([model.to_json() for model in found])
        return
    from rich.console import Console

    from monosemy.reports.census import census_report

    Console().print(census_report(found))
    if out:
        click.echo(f"Figure: {out / 'census.svg'}; numbers: {out / 'census.json'}")
