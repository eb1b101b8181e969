"""``monosemy probe RUN``: how well few latents tell labelled concepts."""

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


@click.command("probe", context_settings=CONTEXT_SETTINGS)
@click.argument("path", metavar="RUN_OR_DICTIONARY", type=click.Path(path_type=Path))
@click.option("--concepts", metavar="NAME|FILE", default="",
              help="python, english, spelling, or a JSONL file of marks "
                   "[python for the standard library, else spelling].")  # fmt: skip
@click.option("--lists", metavar="FOLDER", default="",
              help="Lists for english: names/*.txt, relations.json.")  # fmt: skip
@click.option("--k", "ks", default="1,2,5,16", show_default=True, help="Latents of a probe.")
@click.option("--tokens", type=int, default=60_000, show_default=True, help="Held-out tokens.")
@click.option(
    "--folds", type=int, default=4, show_default=True, help="Parts that documents are dealt to."
)
@click.option("--limit", type=int, default=0, help="At most so many concepts, evenly taken [all].")
@click.option("--model", help="Model to read [the dictionary's].")
@click.option("--site", help="Where to read it [the dictionary's].")
@click.option("--text", help="Text to read [the dictionary's].")
@click.option(
    "--no-controls", is_flag=True, help="Leave out neurons, PCA, random directions, dense."
)
@click.option("--no-random-model", is_flag=True,
              help="Leave out the re-initialised model, whose dictionary takes as long.")  # fmt: skip
@click.option("--figure", type=click.Path(path_type=Path, dir_okay=False),
              help="Also draw it here (.svg or .png).")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), help="Also write the JSON here.")
@json_option
@quiet_option
def command(
    path: Path, concepts: str, lists: str, ks: str, tokens: int, folds: int, limit: int,
    model: str | None, site: str | None, text: str | None, no_controls: bool,
    no_random_model: bool, figure: Path | None, out: Path | None, as_json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Probe labelled concepts with the latents of RUN_OR_DICTIONARY, k at a time.

    Whether a token is a keyword, stands in a docstring or begins a word is known from the text alone.
    For every such concept the k best latents are chosen, on some documents, and tested on others:
    nothing is chosen on what is tested. The same for neurons, principal components, random
    directions and a model with random weights, at equal L0, and for whole activations.

    \b
    Examples:
      monosemy probe runs/demo
      monosemy probe runs/demo --concepts spelling --k 1,5 --json > probed.json
      monosemy probe runs/demo/dictionary --no-random-model --figure probed.svg
      monosemy probe runs/stories --concepts english --lists ./lists
    """
    quiet_libraries()
    from monosemy.cli.progress import choose
    from monosemy.foundation import storage
    from monosemy.foundation.errors import UserError
    from monosemy.recipes.probing import ProbingConfig, probe_concepts

    if figure is not None and figure.suffix not in (".svg", ".png"):
        raise UserError(f"figure {figure}: wanted a name that ends in .svg or .png")
    config = ProbingConfig(
        concepts, _numbers(ks), tokens, folds, limit=limit, controls=not no_controls,
        random_model=not no_random_model, lists=lists,
    )  # fmt: skip
    given = {"model": model, "site": site, "text": text}
    changes = {key: value for key, value in given.items() if value is not None}
    found = probe_concepts(path, config, changes, choose(quiet or as_json)).to_json()
    if out:
        storage.write_json(out, found)
    if figure:
        from monosemy.reports.probing import png, svg

        drawn = svg(found).encode() if figure.suffix == ".svg" else png(found)
        storage.write_bytes(figure, drawn)
    if as_json:
        print_json(found)
        return
    from rich.console import Console

    from monosemy.reports.probing import probing_report

    Console().print(probing_report(found))


def _numbers(ks: str) -> tuple[int, ...]:
    from monosemy.foundation.errors import UserError

    try:
        return tuple(int(k) for k in ks.split(","))
    except ValueError:
        raise UserError(f"--k {ks!r}; wanted numbers with commas between: 1,2,5,16") from None
