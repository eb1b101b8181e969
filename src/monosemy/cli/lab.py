"""``monosemy lab``: the laboratory of superposition."""

from __future__ import annotations

import importlib

import click

from monosemy.cli.options import CONTEXT_SETTINGS

# instrument -> one line for the overview; its module in cli/laboratory has the rest.
INSTRUMENTS = {
    "toy": "Train toy models of superposition, an experiment at a time.",
    "analogy": "Ask a is to b as c is to what, in vectors, models and a made world.",
    "codes": "Is a code local (separate, conditional) or global (a linear mixture)?",
    "manifolds": "Circles among features, dimensions, local subspaces.",
    "pages": "Measure every claim and write a page of each.",
    "norms": "What local normalisation keeps apart, and what it costs a model.",
    "freedom": "How many directions a normalised stream has, and which keys can be chosen.",
    "capacity": "How many features fit into so many axes, by sums and by experiment.",
}


class _Instruments(click.Group):
    """Finds an instrument's module by its name, when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(INSTRUMENTS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in INSTRUMENTS:
            return None
        return importlib.import_module(f"monosemy.cli.laboratory.{cmd_name}").command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in INSTRUMENTS:
            from monosemy.foundation.errors import UserError, nearest

            known = ", ".join(INSTRUMENTS)
            raise UserError(
                f"unknown instrument {args[0]!r}; known: {known}{nearest(args[0], INSTRUMENTS)}"
            )
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # The overview needs no instrument's module.
        with formatter.section("Instruments"):
            formatter.write_dl(list(INSTRUMENTS.items()))


@click.group("lab", cls=_Instruments, context_settings=CONTEXT_SETTINGS)
def command() -> None:
    """See superposition and measure it, in toys and in real models.

    \b
    Examples:
      monosemy lab pages --out docs/laboratory
      monosemy lab freedom --width 64 --json
      monosemy lab norms --toy
      monosemy lab capacity --calculate
      monosemy lab toy plateaus --out runs/toy-figures
      monosemy lab codes --cube --json
      monosemy lab analogy --vectors PATH/glove.txt --ask 'wife - husband + king'
    """
