"""``monosemy sharing RUN``: does a model reuse local subspaces?"""

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


@click.command("sharing", context_settings=CONTEXT_SETTINGS)
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--tokens", type=int, default=150_000, show_default=True,
              help="Held-out activations, or fresh samples of a world.")  # fmt: skip
@click.option("--rank", type=int, default=0, help="Dimensions of a chart [the run's own, else 4].")
@click.option("--samples", type=int, default=256, show_default=True,
              help="Residuals of each parent, in both halves together.")  # fmt: skip
@click.option("--parents", type=int, default=256, show_default=True,
              help="At most so many: those of most energy.")  # fmt: skip
@click.option("--draws", type=int, default=9, show_default=True,
              help="Draws of the null that turns covariances.")  # fmt: skip
@click.option("--no-random-model", is_flag=True,
              help="Leave out the re-initialised model, whose dictionary takes as long.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path),
              help="Folder for sharing.json and the figure.")  # fmt: skip
@json_option
@quiet_option
def command(
    run: Path, tokens: int, rank: int, samples: int, parents: int, draws: int,
    no_random_model: bool, out: Path | None, as_json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Draw the energy that few shared subspaces (charts) capture of what the parents of RUN leave over.

    RUN is a run's folder, or a cell of monosemy truth. Parents are its latents, children left aside.
    Where parents share local subspaces, few charts capture nearly as much as one for each parent, and
    the curve has a knee. It stands beside two nulls: every parent's covariance turned on its own,
    and the same recipe on a model with random weights (trained once, kept in the run). Charts are
    found on one half of the held-out activations and judged on the other.

    \b
    Examples:
      monosemy sharing runs/demo
      monosemy sharing runs/rotated/local/seed-0 --out runs/sharing
      monosemy sharing runs/demo --no-random-model --draws 5 --json > sharing.json
    """
    quiet_libraries()
    from monosemy.cli.progress import choose
    from monosemy.foundation import storage
    from monosemy.recipes.sharing import SharingConfig, measure_sharing
    from monosemy.reports import sharing as reports

    config = SharingConfig(tokens, rank, samples, parents, draws, not no_random_model)
    found = measure_sharing(run, config, choose(quiet or as_json)).to_json()
    if out:
        storage.write_json(out / "sharing.json", found)
        storage.write_text(out / "sharing.svg", reports.svg(found))
        storage.write_bytes(out / "sharing.png", reports.png(found))
    if as_json:
        print_json(found)
        return
    from rich.console import Console

    Console().print(reports.sharing_report(found))
    if out:
        click.echo(f"Figure: {out / 'sharing.svg'}; numbers: {out / 'sharing.json'}")
