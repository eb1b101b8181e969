"""Words typed in a terminal: one thin file a verb.

Each verb's module is imported only when it is called, and imports what is heavy inside its
function, so that ``monosemy --help`` answers at once.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

import click

# verb -> one line for the overview; the verb's module has the rest.
VERBS = {
    "demo": "The main job on the model that ships inside: train, measure, look.",
    "sites": "List the places inside a model that can be read, with their widths.",
    "specimen": "The small language model that ships inside: make it, sample from it.",
    "capture": "Write activations to disk, for training later or elsewhere.",
    "train": "Learn a dictionary from a recipe.",
    "sweep": "Learn several dictionaries from one stream, side by side.",
    "evaluate": "Measure a dictionary on held-out text, beside its controls.",
    "absorption": "Measure what latents hide of labels (keyword, pronoun), and how labels are split.",
    "probe": "Measure how well few latents tell labelled concepts, beside controls.",
    "sharing": "Measure whether latents share local subspaces, beside two nulls.",
    "truth": "Learn worlds whose features are known, and say which features were found.",
    "grow": "Make a model larger without changing what it computes, and prove it.",
    "allocate": "Give features axes of their own in a larger model; measure what it buys.",
    "census": "Count a model's axes, units and neurons from its configuration, beside brains.",
    "lab": "See superposition and measure it: toys, capacity, norms, codes, analogies.",
    "inspect": "Say what a dictionary is, whoever wrote it: its rules, sizes, hash.",
    "convert": "Write a dictionary in another library's form, and prove it the same.",
    "doctor": "Say what is in use here and why, how fast it is, what to mend.",
}

OVERVIEW = """Takes a transformer apart into features that each mean one thing.

\b
  monosemy demo                       from text to measured features, in minutes, offline
  monosemy sites gpt2                 what can be read in a model
  monosemy train demo --latents 8192  learn a dictionary, changing a recipe a little
  monosemy evaluate runs/demo         measure it, with intervals and controls

Every verb explains itself: monosemy VERB --help
"""


class _Verbs(click.Group):
    """Finds a verb's module by its name, when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        return importlib.import_module(f"monosemy.cli.{cmd_name}").command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and args[0] not in VERBS:
            from monosemy.foundation.errors import UserError, nearest

            known = ", ".join(VERBS)
            raise UserError(f"unknown verb {args[0]!r}; known: {known}{nearest(args[0], VERBS)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # The overview needs no verb's module.
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))


@click.group(cls=_Verbs, help=OVERVIEW, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="monosemy")
def cli() -> None:
    """The command line."""


def main() -> None:
    """Run the command line; errors that a person can act on end in one message, not a traceback."""
    from monosemy.foundation.errors import Interrupted, UserError

    try:
        cli(prog_name="monosemy", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except UserError as error:
        click.echo(f"monosemy: {error}", err=True)
        sys.exit(error.exit_code)
    except Interrupted as stop:
        click.echo(f"monosemy: {stop}", err=True)
        sys.exit(stop.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("monosemy: stopped; run the same command again to go on", err=True)
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    except OSError as error:
        # A file that may not be written, a folder where a file was meant: said, not traced.
        if error.filename is None:
            raise
        click.echo(f"monosemy: {error.filename}: {error.strerror}", err=True)
        sys.exit(2)
