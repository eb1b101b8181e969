"""``monosemy inspect PATH``: what a dictionary is, whoever wrote it."""

from __future__ import annotations

from typing import Any

import click

from monosemy.cli.options import CONTEXT_SETTINGS, json_option, print_json, quiet_libraries


@click.command("inspect", context_settings=CONTEXT_SETTINGS)
@click.argument("path")
@click.option("--from", "given", metavar="FORMAT", help="The form of PATH, if it does not show.")
@click.option("--part", help="Only this dictionary, where PATH holds several.")
@json_option
def command(path: str, given: str | None, part: str | None, as_json: bool) -> None:
    """Say what the dictionary at PATH is: its form, rules, sizes, and a hash of its weights.

    PATH is a folder or file in any form that is read, or hf://owner/repository[@revision]/path. The
    hash is of the weights, not of the files: it is the same in every form.

    \b
    Examples:
      monosemy inspect runs/demo/dictionary
      monosemy inspect downloads/params.npz --json
      monosemy inspect transcoders --part layer_3
    """
    quiet_libraries()
    from monosemy.dictionaries.foreign.formats import identify
    from monosemy.dictionaries.semantics import semantics

    form, collection = identify(path, given, part)
    found = {name: semantics(dictionary) for name, dictionary in collection.items()}
    about = {name: dictionary.metadata for name, dictionary in collection.items()}
    if as_json:
        parts = {
            name: {"semantics": rules, "metadata": about[name]} for name, rules in found.items()
        }
        print_json({"path": path, "format": form.name, "library": form.library, "parts": parts})
        return
    click.echo(f"{path}: {form.name} ({form.library})")
    for name, rules in found.items():
        if name:
            click.echo(f"\n{name}")
        for key, value in rules.items():
            if value is not None and value != []:
                click.echo(f"  {key:<14} {_plain(value)}")
        for key in ("model_name", "hook_name", "hook_name_out"):
            if about[name].get(key):
                click.echo(f"  {key:<14} {about[name][key]}")


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(inner)}" for key, inner in value.items())
    return str(value)
