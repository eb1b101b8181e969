"""``monosemy lab toy``: toy models of superposition, an experiment at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from monosemy.cli.options import (
    CONTEXT_SETTINGS,
    json_option,
    print_json,
    quiet_libraries,
    quiet_option,
)

# experiment -> one line for the overview, as in recipes/laboratory/superposition.py, which would take
# torch with it.
EXPERIMENTS = {
    "phases": "The phase diagram, trained and in closed form.",
    "plateaus": "Dimensions in shares of 1, 3/4, 2/3, 1/2, 2/5.",
    "geometry": "Five features in a plane: a pentagon.",
    "onset": "What is kept as features get sparser.",
    "correlated": "Features together, and one of a set.",
    "dynamics": "Jumps while learning.",
    "adversarial": "What a small step of the input costs.",
    "computation": "Absolute values in superposition.",
    "privileged": "Neurons of one meaning, and of many.",
    "allocation": "An axis of one's own, and what it ends.",
}
_ALL = "all"


class _Experiments(click.Group):
    """Refuses unknown experiments by name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*EXPERIMENTS, _ALL]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in self.list_commands(ctx):
            from monosemy.foundation.errors import UserError, nearest

            known = ", ".join(self.list_commands(ctx))
            raise UserError(
                f"unknown experiment {args[0]!r}; known: {known}"
                f"{nearest(args[0], self.list_commands(ctx))}"
            )
        return super().resolve_command(ctx, args)


@click.group("toy", cls=_Experiments, context_settings=CONTEXT_SETTINGS)
def command() -> None:
    """Train toy models that keep more features than they have dimensions.

    All instances of an experiment (densities, importances, fits) learn at once. Trainings are kept
    in a folder: after Ctrl-C the same command goes on, and what is done is not done again.

    \b
    Examples:
      monosemy lab toy phases
      monosemy lab toy plateaus --json > plateaus.json
      monosemy lab toy all --out runs/toy-figures
    """


def _options(function: Any) -> Any:
    for option in (
        quiet_option,
        json_option,
        click.option("--runs", type=click.Path(path_type=Path), default=Path("runs") / "toys",
                     show_default=True, help="Folder in which trainings are kept."),
        click.option("--out", type=click.Path(path_type=Path),
                     help="Folder for figures (SVG) and their data (JSON)."),
        click.option("--steps", type=int,
                     help="Training steps, in place of the experiment's own."),
        click.option("--seed", type=int, default=0, show_default=True,
                     help="Root of every random draw."),
    ):  # fmt: skip
        function = option(function)
    return function


def _run(
    names: list[str], seed: int, steps: int | None, out: Path | None, runs: Path, as_json: bool,
    quiet: bool,
) -> None:  # fmt: skip
    quiet_libraries()
    from monosemy.cli.progress import choose
    from monosemy.foundation import storage
    from monosemy.recipes.laboratory.superposition import run_experiment
    from monosemy.reports.laboratory import claim_report
    from monosemy.tensors.compute import Compute

    found = []
    for name in names:
        found.append(
            run_experiment(name, Compute(seed=seed), steps, runs, choose(quiet or as_json))
        )
        if out:
            storage.write_json(out / f"{name}.json", found[-1].to_json())
            for picture in found[-1].pictures:
                storage.write_text(out / f"{picture.name}.svg", picture.svg)
    if as_json:
        values = [one.to_json() for one in found]
        print_json(values if len(values) > 1 else values[0])
        return
    from rich.console import Console

    console = Console()
    for one in found:
        console.print(claim_report(one.claim()), "")
    if out:
        click.echo(f"Figures and numbers: {out}")


def _experiment(name: str, line: str) -> click.Command:
    @_options
    def run(**options: Any) -> None:
        _run([name], **options)

    run.__doc__ = (
        f"{line}\n\n\b\nExamples:\n  monosemy lab toy {name}\n"
        f"  monosemy lab toy {name} --out toys --json\n"
    )
    return click.command(name, context_settings=CONTEXT_SETTINGS)(run)


for _name, _line in EXPERIMENTS.items():
    command.add_command(_experiment(_name, _line))


@command.command(_ALL, context_settings=CONTEXT_SETTINGS)
@_options
def run_all(**options: Any) -> None:
    """All experiments, one after the other: about ten minutes on two cores.

    \b
    Examples:
      monosemy lab toy all --out toys
    """
    _run(list(EXPERIMENTS), **options)
