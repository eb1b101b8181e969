"""``monosemy lab manifolds``: circles, dimensions, local subspaces."""

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


@click.command("manifolds", context_settings=CONTEXT_SETTINGS)
@click.argument("run", required=False)
@click.option("--tokens", type=int, default=20_000, show_default=True, help="Held-out, of RUN.")
@click.option("--latents", type=int, default=512, show_default=True,
              help="Latents of RUN that are looked at, those of most energy.")  # fmt: skip
@click.option("--cosine", type=float, default=0.75, show_default=True,
              help="Cosine of directions from which two latents belong to one family.")  # fmt: skip
@click.option("--firing", type=float, default=0.25, show_default=True,
              help="Correlation of firing from which they do.")  # fmt: skip
@click.option("--neighbourhoods", type=int, default=24, show_default=True,
              help="Latents whose neighbourhood gets a dimension.")  # fmt: skip
@click.option("--clusters", type=int, default=16, show_default=True, help="Clusters of contexts.")
@click.option("--rank", type=int, default=4, show_default=True, help="Of their subspaces.")
@click.option("--circles", type=int, default=6, show_default=True, help="Planted, without RUN.")
@click.option("--steps", type=int, default=1000, show_default=True,
              help="Updates of each dictionary that learns them.")  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, help="Root of every random draw.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder for manifolds.svg and its JSON."
)
@json_option
@quiet_option
def command(
    run: str | None, tokens: int, latents: int, cosine: float, firing: float, neighbourhoods: int,
    clusters: int, rank: int, circles: int, steps: int, seed: int, out: Path | None, as_json: bool,
    quiet: bool,
) -> None:  # fmt: skip
    """Find circles among the features of RUN, or plant some and see how a dictionary tiles them.

    Latents are sorted into families that point alike or fire together. A family is a circle where
    what it writes can be neither separated nor taken for a mixture (Engels et al. 2024) and has a
    hole. For RUN also: the intrinsic dimension of neighbourhoods, and what subspaces of their own are
    worth to clusters of contexts, beside a Gaussian cloud.

    \b
    Examples:
      monosemy lab manifolds --out manifolds
      monosemy lab manifolds runs/demo
      monosemy lab manifolds runs/demo --tokens 50000 --firing 0.4 --json > manifolds.json
    """
    quiet_libraries()
    from monosemy.cli.progress import choose
    from monosemy.foundation import storage
    from monosemy.recipes.laboratory.manifolds import (
        PlantedConfig,
        RunConfig,
        examine_planted,
        examine_run,
    )
    from monosemy.reports import manifolds as reports
    from monosemy.tensors.compute import Compute

    compute, watched = Compute(seed=seed), choose(quiet or as_json)
    if run is not None:
        config = RunConfig(tokens, latents, cosine, firing, neighbourhoods, clusters, rank)
        found = examine_run(run, config, compute, watched)
    else:
        found = examine_planted(PlantedConfig(circles=circles, steps=steps), compute, watched)
    if out:
        svg = reports.families_svg(found) if run is not None else reports.tiles_svg([found])
        storage.write_json(out / "manifolds.json", found)
        storage.write_text(out / "manifolds.svg", svg)
    if as_json:
        print_json(found)
        return
    from rich.console import Console

    Console().print(reports.manifolds_report(found))
    if out:
        click.echo(f"Figure: {out / 'manifolds.svg'}; numbers: {out / 'manifolds.json'}")
