"""``monosemy lab codes``: is a code local or global?"""

from __future__ import annotations

from pathlib import Path

import click

from monosemy.cli.options import (
    CONTEXT_SETTINGS,
    json_option,
    place_options,
    print_json,
    quiet_libraries,
    quiet_option,
)


@click.command("codes", context_settings=CONTEXT_SETTINGS)
@click.option("--cube", is_flag=True, help="Three bits on the corners of a cube: exact answers.")
@click.option("--width", type=int, default=10, show_default=True, help="Of the cube.")
@click.option("--model", help="Read this model: 'specimen', a folder, a hub name.")
@click.option("--text", help="Text to read ['stdlib' for the specimen].")
@click.option("--site", help="Where [residual stream behind the middle block].")
@click.option("--by", metavar="VARIABLES",
              help="nesting (depth × class of Python tokens) or position (quarter of the context × "
                   "class of English words) [by the text].")  # fmt: skip
@click.option("--tokens", type=int, default=40_000, show_default=True, help="To read.")
@click.option("--context", type=int, default=256, show_default=True, help="Tokens in a window.")
@click.option(
    "--activations", metavar="FILE", help="Or activations of your own: .npy, .safetensors."
)
@click.option("--labels", metavar="FILE", help="Their variables: columns of .csv or .npz.")
@click.option("--least", type=int, default=40, show_default=True,
              help="Samples of every combination; values that lack them are left out.")  # fmt: skip
@click.option("--most", type=int, default=300, show_default=True, help="Samples of each kept.")
@click.option("--dimensions", type=int, default=64, show_default=True,
              help="Principal axes that are looked at.")  # fmt: skip
@click.option("--draws", type=int, default=20, show_default=True, help="Draws of each null.")
@click.option("--seed", type=int, default=0, show_default=True, help="Root of every random draw.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for codes.svg and its JSON.")
@place_options
@json_option
@quiet_option
def command(
    cube: bool, width: int, model: str | None, text: str | None, site: str | None, by: str | None,
    tokens: int, context: int, activations: str | None, labels: str | None, least: int, most: int,
    dimensions: int, draws: int, seed: int, out: Path | None, device: str, dtype: str,
    as_json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Is the code of labelled variables local (separate, conditional) or global (a linear mixture)?

    For every variable: is it read in contexts that the reader never saw (CCGP), are its directions
    parallel, how much of its code is common to all contexts, do its subspaces coincide; beside
    shuffled labels and random geometry. A stated rule names the code. Without a model or files, codes
    of four kinds are made and told apart.

    \b
    Examples:
      monosemy lab codes --cube --json
      monosemy lab codes --out codes
      monosemy lab codes --model specimen --tokens 100000
      monosemy lab codes --model PATH/minilm-l6 --text PATH/stories.txt --context 128
      monosemy lab codes --activations acts.npy --labels labels.csv --json
    """
    quiet_libraries()
    from monosemy.cli.progress import choose
    from monosemy.foundation import storage
    from monosemy.foundation.errors import refuse
    from monosemy.recipes.laboratory import code_samples
    from monosemy.recipes.laboratory.codes import (
        CodesConfig,
        examine_code,
        examine_cube,
        examine_made,
    )
    from monosemy.reports import codes as reports
    from monosemy.tensors.compute import Compute

    given = {"--cube": cube, "--model": model, "--activations": activations}
    named = [name for name, value in given.items() if value]
    reasons = [f"{' and '.join(named)} were given; wanted one"] if len(named) > 1 else []
    if bool(activations) != bool(labels):
        reasons.append("--activations and --labels go together")
    if text and not model:
        reasons.append("--text without --model")
    refuse(reasons, "this look at a code")
    compute = Compute(device=device, dtype=dtype, seed=seed)
    config, watched = CodesConfig(least, most, dimensions, draws), choose(quiet or as_json)
    if cube:
        found = examine_cube(width, compute)
        shown, svg = reports.cube_report(found), reports.cube_svg(found)
    elif model or activations:
        if model:
            text = text or "stdlib"
            coded = code_samples.from_model(
                model, text, site, by, tokens, context, compute, watched
            )
        else:
            coded = code_samples.from_files(str(activations), str(labels))
        found = examine_code(coded, config, compute, watched)
        shown, svg = reports.codes_report([found]), reports.codes_svg([found])
    else:
        found = {"codes": examine_made(config, compute, watched)}
        shown, svg = reports.codes_report(found["codes"]), reports.codes_svg(found["codes"])
    if out:
        storage.write_json(out / "codes.json", found)
        storage.write_text(out / "codes.svg", svg)
    if as_json:
        print_json(found)
        return
    from rich.console import Console

    Console().print(shown)
    if out:
        click.echo(f"Figure: {out / 'codes.svg'}; numbers: {out / 'codes.json'}")
