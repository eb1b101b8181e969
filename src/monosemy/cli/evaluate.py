"""``monosemy evaluate RUN``: measurements beside their controls."""

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


@click.command("evaluate", context_settings=CONTEXT_SETTINGS)
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--tokens", type=int, default=150_000, show_default=True, help="Held-out tokens.")
@click.option("--no-random-model", is_flag=True,
              help="Leave out the re-initialised model, whose dictionary takes as long.")  # fmt: skip
@click.option("--prune", type=float, metavar="THRESHOLD",
              help="Drop active latents whose absence would not show (leave-one-out).")  # fmt: skip
@click.option("--ica", is_flag=True, help="Independent components too (minutes).")
@click.option("--out", type=click.Path(path_type=Path), help="Also write the JSON here.")
@json_option
@quiet_option
def command(
    run: Path, tokens: int, no_random_model: bool, prune: float | None, ica: bool,
    out: Path | None, as_json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Measure the dictionary of RUN on held-out text, beside its controls at equal L0.

    Every number has a 95 % bootstrap interval over documents. The controls are the site's own
    neurons, principal components, random directions, and the same method on a model with random
    weights (trained once, kept in the run).

    \b
    Examples:
      monosemy evaluate runs/demo
      monosemy evaluate runs/demo --tokens 300000 --json > measured.json
      monosemy evaluate runs/demo --prune 0.1 --no-random-model
    """
    quiet_libraries()
    from monosemy.cli.progress import choose
    from monosemy.foundation import storage
    from monosemy.recipes.evaluation import evaluate

    watched = choose(quiet or as_json)
    found = evaluate(run, tokens, not no_random_model, watched, prune, ica).to_json()
    if out:
        storage.write_json(out, found)
    if as_json:
        print_json(found)
        return
    from rich.console import Console

    from monosemy.reports.terminal import measurements

    Console().print(measurements(found))
