"""``monosemy train RECIPE``: learn a dictionary."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from monosemy.cli.options import (
    CONTEXT_SETTINGS,
    json_option,
    parse_changes,
    print_json,
    quiet_libraries,
    quiet_option,
)

# Flags for the fields people change most; every other field is reached by --set.
SHORTCUTS = {
    "model": "Model to read: specimen, a folder, a hub name.",
    "site": "Where to read it; see: monosemy sites MODEL",
    "target": "Where a transcoder writes.",
    "structure": "autoencoder, transcoder, skip_transcoder, crosscoder or cross_layer.",
    "text": "stdlib, a text or JSONL file, a folder, a datasets folder.",
    "shards": "Read captured activations instead of running the model.",
    "tokens": "Activations in an epoch.",
    "epochs": "Passes over them.",
    "latents": "Size of the dictionary.",
    "encoder": "linear, gated, lista or matching_pursuit.",
    "selection": "relu, topk, batchtopk or jumprelu.",
    "k": "Active latents a token.",
    "batch": "Activations in an update.",
    "seed": "Root of every random draw.",
    "device": "cpu, cuda, cuda:N or mps.",
    "dtype": "Precision of the model.",
    "precision": "Of the search for active latents: auto, float32 or bfloat16.",
}


def shortcuts(function: Any) -> Any:
    """The flags of `SHORTCUTS`, in their order."""
    for name, text in reversed(SHORTCUTS.items()):
        function = click.option(f"--{name}", name, help=text)(function)
    return function


@click.command("train", context_settings=CONTEXT_SETTINGS)
@click.argument("recipe", default="demo")
@click.option("--out", type=click.Path(path_type=Path), help="Run directory [runs/RECIPE].")
@click.option("--resume", type=click.Path(path_type=Path), help="Go on with this run.")
@click.option(
    "--set", "changes", multiple=True, metavar="KEY=VALUE", help="Any field of the recipe."
)
@click.option(
    "--dry-run", is_flag=True, help="Print the plan, with memory and time; train nothing."
)
@click.option("--list", "list_recipes", is_flag=True, help="List recipes and every key.")
@shortcuts
@json_option
@quiet_option
def command(
    recipe: str,
    out: Path | None,
    resume: Path | None,
    changes: tuple[str, ...],
    dry_run: bool,
    list_recipes: bool,
    as_json: bool,
    quiet: bool,
    **flags: str | None,
) -> None:
    """Learn a dictionary by RECIPE: a built-in name, FILE.toml, or FILE.py:FUNCTION.

    Flags change the recipe. Run the same command again after a stop and it goes on from the last
    checkpoint, bit for bit.

    \b
    Examples:
      monosemy train --list
      monosemy train demo --latents 8192 --k 32 --out runs/wide
      monosemy train demo --model ./my-model --site blocks.3.hook_resid_post --text ./docs
      monosemy train transcoder --model ./my-model --site blocks.3.mlp.hook_in \\
          --target blocks.3.hook_mlp_out
      monosemy train my.toml --set optim.learning_rate=1e-3 --dry-run
      monosemy train --resume runs/wide
    """
    quiet_libraries()
    if list_recipes:
        _print_recipes(as_json)
        return
    from monosemy.recipes.catalogue import find_recipe
    from monosemy.recipes.config import override
    from monosemy.recipes.dictionary import read_run
    from monosemy.recipes.recipe import check

    chosen = read_run(resume) if resume else find_recipe(recipe)
    given = {name: value for name, value in flags.items() if value is not None}
    chosen = override(chosen, {**given, **parse_changes(changes)})
    check(chosen)
    if dry_run:
        _print_plan(chosen, as_json)
        return
    folder = resume or out or Path("runs") / Path(recipe.partition(":")[0]).stem
    _train(chosen, folder, as_json, quiet)


def _train(recipe: Any, folder: Path, as_json: bool, quiet: bool) -> None:
    from monosemy.cli.progress import choose
    from monosemy.recipes.dictionary import pace_of, train_dictionary

    dictionary = train_dictionary(recipe, folder, choose(quiet or as_json))
    result = {
        "run": str(folder),
        "dictionary": str(folder / "dictionary"),
        "latents": dictionary.latents,
        "width": dictionary.width,
        **({} if dictionary.autoencodes else {"written": dictionary.written}),
        **dictionary.metadata,
        **pace_of(folder),
    }
    if as_json:
        print_json(result)
        return
    click.echo(
        f"{dictionary.latents:,} latents on {'' if recipe.world else recipe.model + ' '}{recipe.place}"
        + f": {folder / 'dictionary'}\n"
        f"The data's mean stands {dictionary.metadata['outlier_ratio']:.2f} spreads from zero "
        "(the further, the more latents die without centring).\n"
        + ("" if recipe.world else f"Measure it: monosemy evaluate {folder}")
    )


def _print_plan(recipe: Any, as_json: bool) -> None:
    from monosemy.recipes.plan import plan

    made = plan(recipe)
    if as_json:
        print_json(made)
        return
    memory, seconds = made["memory_mib"], made["seconds"]
    parts = ", ".join(f"{name} {size:,}" for name, size in memory.items() if name != "total")
    click.echo(
        f"model       {'none' if recipe.world else ', '.join(recipe.models)}, {made['site']['name']} "
        f"({made['site']['width']:,} wide)\n"
        f"text        {recipe.world or recipe.shards or recipe.text}: {made['tokens']:,} activations\n"
        f"dictionary  {recipe.latents:,} latents, {recipe.architecture}"
        + (f", k = {recipe.k}" if recipe.selection in ("topk", "batchtopk") else "")
        + f"; {made['parameters']:,} parameters\n"
        f"steps       {made['steps']:,} of {recipe.batch:,} activations\n"
        f"memory      about {memory['total']:,} MiB ({parts})\n"
        f"time        about {seconds['total']:,.0f} s (text {seconds['text']:,.0f}, reading "
        f"{seconds['reading']:,.0f}, steps {seconds['steps']:,.0f}), measured just now\n"
        f"disk        about {made['checkpoint_mib']:,} MiB for a checkpoint"
    )


def _print_recipes(as_json: bool) -> None:
    from monosemy.recipes.catalogue import RECIPES
    from monosemy.recipes.config import keys_of
    from monosemy.recipes.recipe import DictionaryRecipe

    if as_json:
        print_json({"recipes": list(RECIPES), "keys": keys_of(DictionaryRecipe)})
        return
    for name, make in RECIPES.items():
        click.echo(f"{name:<10} {(make.__doc__ or '').strip()}")
    click.echo("\nKeys, for TOML files and --set:\n  " + "\n  ".join(keys_of(DictionaryRecipe)))
