"""``monosemy allocate RUN``: features on axes of their own, in a larger model."""

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


@click.command("allocate", context_settings=CONTEXT_SETTINGS)
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True,
              help="Folder of the model, the numbers and the figure.")  # fmt: skip
@click.option("--features", help="Latents by number: 3,17,250.")
@click.option("--count", type=int, default=16, show_default=True,
              help="How many, where none are named.")  # fmt: skip
@click.option("--by", default="density", show_default=True,
              help="Choose by density, interference, burden or chance.")  # fmt: skip
@click.option("--label", help="Features whose label has these words.")
@click.option("--archive", type=click.Path(path_type=Path),
              help="The archive whose labels are meant.")  # fmt: skip
@click.option("--relation", type=click.Path(path_type=Path),
              help="File of word pairs, two words a line: their offset gets an axis.")  # fmt: skip
@click.option("--own", type=int, default=1, show_default=True, help="New neurons a feature.")
@click.option("--no-axes", is_flag=True, help="Only neurons of their own; no axis of the stream.")
@click.option("--crowd", is_flag=True, help="Read with the neurons that are there, too.")
@click.option("--steps", type=int, default=100, show_default=True, help="Updates of the model.")
@click.option("--moving", type=int, default=20, show_default=True,
              help="The first of them, during which features move.")  # fmt: skip
@click.option("--batch", type=int, default=16, show_default=True, help="Contexts in an update.")
@click.option("--rate", type=float, default=5e-4, show_default=True, help="Learning rate.")
@click.option("--tokens", type=int, default=100_000, show_default=True,
              help="Training tokens that reading is learned on.")  # fmt: skip
@click.option("--heldout", type=int, default=40_000, show_default=True,
              help="Held-out tokens that burden is measured on.")  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, help="Root of every random draw.")
@click.option("--model", help="Where a dictionary's file does not say it.")
@click.option("--site", help="Likewise.")
@click.option("--text", help="Likewise.")
@click.option("--controls", is_flag=True,
              help="Train the controls of equal size, and the model as it is, too.")  # fmt: skip
@click.option("--study", is_flag=True,
              help="16, 64 and 256 features, three seeds, all controls; resumes.")  # fmt: skip
@click.option("--counts", default="16,64,256", show_default=True, help="Of the study.")
@click.option("--seeds", type=int, default=3, show_default=True, help="Of the study.")
@click.option("--page", type=click.Path(path_type=Path), help="Write the study as a page, too.")
@json_option
@quiet_option
def command(
    run: Path, out: Path, features: str | None, count: int, by: str, label: str | None,
    archive: Path | None, relation: Path | None, own: int, no_axes: bool, crowd: bool, steps: int,
    moving: int, batch: int, rate: float, tokens: int, heldout: int, seed: int, model: str | None,
    site: str | None, text: str | None, controls: bool, study: bool, counts: str, seeds: int,
    page: Path | None, as_json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Give features of RUN's dictionary axes of their own in a larger model that computes the same.

    The model is widened by one axis of the stream and --own neurons a feature. The neurons learn to
    read the feature; then, over --moving updates, its content leaves the crowded subspace and goes to
    its axis, while the model trains on. Later layers read the axis as they read the old direction, so
    that at the start nothing changes (proved in float64). Measured before and after: how many
    dimensions read the feature, how much of what is read is other features, how many weights read it,
    the curvature of the loss, the loss against training tokens.

    \b
    Examples:
      monosemy allocate runs/demo --count 16 --out runs/own-axes
      monosemy allocate runs/demo --features 12,345 --own 2 --controls --out runs/two
      monosemy allocate runs/demo --relation pairs.txt --out runs/relation --json
      monosemy allocate runs/demo --study --out runs/study --page docs/allocation.md
    """
    quiet_libraries()
    from monosemy.cli.progress import choose
    from monosemy.foundation import storage
    from monosemy.recipes.allocate import Wanted, allocate_features, feature_ids
    from monosemy.recipes.allocation import AllocationConfig
    from monosemy.recipes.allocation_study import Study, study_allocation
    from monosemy.reports import allocation as reports
    from monosemy.reports import allocation_page

    config = AllocationConfig(
        count, by, own, not no_axes, crowd, tokens, heldout, steps=steps, moving=moving, batch=batch,
        learning_rate=rate, seed=seed,
    )  # fmt: skip
    named = {"model": model, "site": site, "text": text}
    changes = {key: value for key, value in named.items() if value is not None}
    progress = choose(quiet or as_json)
    if study or page:
        wanted = Study(feature_ids(counts), tuple(range(seeds)))
        found = study_allocation(run, config, wanted, out, changes, progress)
        if page:
            typed = f"monosemy allocate RUN --study --out OUT --page {page.name}"
            storage.write_text(page, allocation_page.page(found, typed))
            for name, svg in reports.figures(found).items():
                storage.write_text(page.parent / "figures" / f"{name}.svg", svg)
    else:
        chosen = Wanted(
            feature_ids(features) if features else (), relation, label, archive, controls
        )
        found = allocate_features(run, config, chosen, out, changes, progress)
        storage.write_text(out / "loss.svg", reports.loss_figure(found))
    if as_json:
        print_json(found)
        return
    from rich.console import Console

    shown = reports.study_report(found) if study or page else reports.allocation_report(found)
    Console().print(shown)
    click.echo(f"Everything: {out}" + (f"; page: {page}" if page else ""))
