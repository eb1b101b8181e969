"""``monosemy specimen``: the model that ships inside."""

from __future__ import annotations

from pathlib import Path

import click

from monosemy.cli.options import (
    CONTEXT_SETTINGS,
    json_option,
    parse_changes,
    print_json,
    quiet_libraries,
    quiet_option,
)


@click.group("specimen", context_settings=CONTEXT_SETTINGS)
def command() -> None:
    """The small language model that ships inside: make it, sample from it.

    One transformer layer with 512 ReLU neurons, trained on the Python standard library.

    \b
    Examples:
      monosemy specimen sample "def read"
      monosemy specimen train --out my-specimen
    """


@command.command("train", context_settings=CONTEXT_SETTINGS)
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/specimen"),
              show_default=True, help="Run directory; the model lands in OUT/model.")  # fmt: skip
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change the recipe.")
@json_option
@quiet_option
def train(out: Path, changes: tuple[str, ...], as_json: bool, quiet: bool) -> None:
    """Train the specimen again, from text that every Python has. Resumable; the seed is fixed.

    \b
    Examples:
      monosemy specimen train --out runs/specimen
      monosemy specimen train --out runs/small --set steps=200 --set neurons=128
    """
    quiet_libraries()
    from monosemy.cli.progress import choose
    from monosemy.recipes import config
    from monosemy.recipes.specimen import SpecimenRecipe, train_specimen

    recipe = config.override(SpecimenRecipe(), parse_changes(changes))
    card = train_specimen(recipe, out, choose(quiet or as_json))
    if as_json:
        print_json(card)
        return
    nats = card["cross_entropy"]
    click.echo(
        f"held-out cross-entropy {nats['specimen']:.3f} nats a token "
        f"(bigram {nats['bigram']:.3f}, unigram {nats['unigram']:.3f}): {out / 'model'}"
    )


@command.command("sample", context_settings=CONTEXT_SETTINGS)
@click.argument("prompt", default="def read")
@click.option(
    "--model", default="specimen", show_default=True, help="Another model to sample from."
)
@click.option("--tokens", default=80, show_default=True, help="How many to draw.")
@click.option("--seed", default=0, show_default=True, help="Fixes the draws.")
@json_option
def sample(prompt: str, model: str, tokens: int, seed: int, as_json: bool) -> None:
    """Let the model go on from PROMPT.

    \b
    Examples:
      monosemy specimen sample "class Path"
      monosemy specimen sample "    for name in" --tokens 40 --seed 3
    """
    quiet_libraries()
    from monosemy.models.loading import load
    from monosemy.recipes.specimen import sample as draw
    from monosemy.tensors.compute import Compute

    loaded = load(model)
    text = draw(loaded.model, loaded.tokenizer, prompt, Compute(seed=seed), tokens)
    print_json({"prompt": prompt, "text": text}) if as_json else click.echo(text)
