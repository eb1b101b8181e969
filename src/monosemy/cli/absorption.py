"""``monosemy absorption RUN``: what latents hide of labels, and how labels are split."""

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


@click.command("absorption", context_settings=CONTEXT_SETTINGS)
@click.argument("path", metavar="RUN_OR_DICTIONARY", type=click.Path(path_type=Path))
@click.option("--hierarchy", metavar="NAME|FILE",
              help="python, python-brackets, words, letters, or a JSONL file of spans "
                   "[python for the standard library, else words].")  # fmt: skip
@click.option("--tokens", type=int, default=60_000, show_default=True,
              help="Training tokens that probes are fitted on, and as many held out.")  # fmt: skip
@click.option("--model", help="Model to read [the dictionary's].")
@click.option("--site", help="Where to read it [the dictionary's].")
@click.option("--text", help="Text to read [the dictionary's].")
@click.option("--no-controls", is_flag=True, help="Leave out neurons, PCA and random directions.")
@click.option("--out", type=click.Path(path_type=Path), help="Also write the JSON here.")
@json_option
@quiet_option
def command(
    path: Path, hierarchy: str | None, tokens: int, model: str | None, site: str | None,
    text: str | None, no_controls: bool, out: Path | None, as_json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Measure feature absorption and splitting of RUN_OR_DICTIONARY on labelled tokens.

    A label (keyword) is absorbed where the latents that stand for it are silent on a token that has
    it (return), because the latent of its child carries it too. Labels come from the text alone,
    or from a file: {"document", "start", "end", "parent", "child"} a line.

    \b
    Examples:
      monosemy absorption runs/demo
      monosemy absorption runs/demo --hierarchy letters --tokens 30000 --json > absorbed.json
      monosemy absorption runs/demo/dictionary --hierarchy mine.jsonl --text ./docs
    """
    quiet_libraries()
    from monosemy.cli.progress import choose
    from monosemy.foundation import storage
    from monosemy.recipes.absorption import measure_absorption

    given = {"model": model, "site": site, "text": text}
    changes = {key: value for key, value in given.items() if value is not None}
    watched = choose(quiet or as_json)
    found = measure_absorption(path, hierarchy, tokens, changes, not no_controls, watched).to_json()
    if out:
        storage.write_json(out, found)
    if as_json:
        print_json(found)
        return
    from rich.console import Console

    from monosemy.reports.absorption import absorption_report

    Console().print(absorption_report(found))
