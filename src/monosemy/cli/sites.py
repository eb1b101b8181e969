"""``monosemy sites MODEL``: what can be read in a model."""

from __future__ import annotations

from dataclasses import asdict

import click

from monosemy.cli.options import CONTEXT_SETTINGS, json_option, print_json, quiet_libraries


@click.command("sites", context_settings=CONTEXT_SETTINGS)
@click.argument("model", default="specimen")
@click.option("--match", "pattern", help="Only names that match, as in 'blocks.*.hook_resid_post'.")
@json_option
def command(model: str, pattern: str | None, as_json: bool) -> None:
    """List the places inside MODEL that can be read, with their widths.

    MODEL is `specimen` (ships with monosemy), a Hugging Face folder, or a name on the hub.

    \b
    Examples:
      monosemy sites
      monosemy sites ./my-model --match 'blocks.*.hook_resid_post'
      monosemy sites gpt2 --json
    """
    quiet_libraries()
    from monosemy.models.loading import load
    from monosemy.models.sites import listing, match

    loaded = load(model)
    found = match(loaded.model, [pattern]) if pattern else listing(loaded.model)
    if as_json:
        print_json({"model": loaded.name, "sites": [asdict(site) for site in found]})
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("site", "width", "module", "side", box=None, header_style="bold")
    for site in found:
        table.add_row(site.name, f"{site.width:,}", site.module, site.side)
    console = Console()
    console.print(f"{loaded.name}: {loaded.family}, {loaded.layers} layers, width {loaded.width}")
    console.print(table)
    console.print(
        "Any other module's path is a site too (its output; add ':input' for its input).",
        style="dim",
    )
