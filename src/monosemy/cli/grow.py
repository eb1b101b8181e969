"""``monosemy grow MODEL``: a larger model that computes the same."""

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


@click.command("grow", context_settings=CONTEXT_SETTINGS)
@click.argument("model")
@click.option("--mlp", type=int, metavar="+N", help="Neurons of each MLP.")
@click.option("--heads", type=int, metavar="+N", help="Attention heads of each layer.")
@click.option("--key", type=int, metavar="+N", help="Numbers of each head's queries and keys.")
@click.option("--value", type=int, metavar="+N", help="Numbers of each head's values.")
@click.option("--residual", type=int, metavar="+N", help="Numbers of the residual stream.")
@click.option("--layers", type=int, metavar="+N", help="Layers, behind the last one.")
@click.option("--out", type=click.Path(path_type=Path),
              help="Folder of the larger model; it must not exist yet.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Only check, and say the sizes; write nothing.")
@click.option("--init", type=float, default=1.0, show_default=True,
              help="Deviation of free entries, as a multiple of that of the old ones.")  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, help="Fixes the free entries.")
@click.option("--text", default="stdlib", show_default=True,
              help="Real text of the proof: stdlib, a file or a folder.")  # fmt: skip
@click.option("--tokens", type=int, default=1024, show_default=True,
              help="Predictions compared, of real text and of random tokens each.")  # fmt: skip
@click.option("--dtype", default="float32", show_default=True,
              help="Precision that is written: float32, bfloat16, float16.")  # fmt: skip
@json_option
@quiet_option
def command(
    model: str, mlp: int | None, heads: int | None, key: int | None, value: int | None,
    residual: int | None, layers: int | None, out: Path | None, dry_run: bool, init: float, seed: int,
    text: str, tokens: int, dtype: str, as_json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Make MODEL larger without changing what it computes, and prove it.

    Every number says how much is added. New parts add nothing at first, yet gradients reach them: half
    of what belongs to a new axis is free, the other half is silent. The result is an ordinary model
    folder. Where a family ties sizes to each other (in GPT-2 the stream is as wide as its heads
    together), ask for sizes that go together; what cannot be kept exactly is refused. Differences are
    measured in float64 after each expansion.

    \b
    Examples:
      monosemy grow specimen --mlp +512 --out runs/more-neurons
      monosemy grow specimen --residual +64 --heads +2 --layers +1 --out runs/larger --json
      monosemy grow specimen --residual +64 --key +16 --value +16 --dry-run
    """
    quiet_libraries()
    from monosemy.cli.progress import choose
    from monosemy.foundation.errors import UserError
    from monosemy.recipes.grow import GrowConfig, grow_model, growth_of
    from monosemy.reports.growth import growth_report

    growth = growth_of({"mlp": mlp, "heads": heads, "key": key, "value": value,
                        "residual": residual, "layers": layers})  # fmt: skip
    if out is None and not dry_run:
        raise UserError(
            "no folder to write to: give --out FOLDER, or --dry-run to see the sizes only"
        )
    config = GrowConfig(growth, init, seed, text, tokens, dtype)
    found = grow_model(model, config, None if dry_run else out, choose(quiet or as_json)).to_json()
    if as_json:
        print_json(found)
        return
    from rich.console import Console

    Console().print(growth_report(found))
    if found["out"]:
        click.echo(
            f"Model: {found['out']}; which indices are new: {Path(found['out']) / 'growth.json'}"
        )
