"""``monosemy convert SRC DST --to FORMAT``: a dictionary in another library's files."""

from __future__ import annotations

from dataclasses import asdict

import click

from monosemy.cli.options import CONTEXT_SETTINGS, json_option, print_json, quiet_libraries


@click.command("convert", context_settings=CONTEXT_SETTINGS)
@click.argument("source", metavar="SRC")
@click.argument("target", metavar="DST")
@click.option("--to", required=True, metavar="FORMAT", help="The form to write, as 'sparsify'.")
@click.option("--from", "given", metavar="FORMAT", help="The form of SRC, if it does not show.")
@click.option("--part", help="Only this dictionary, where SRC holds several.")
@click.option("--fold", is_flag=True, help="Fold into the weights what FORMAT cannot say.")
@json_option
def command(
    source: str,
    target: str,
    to: str,
    given: str | None,
    part: str | None,
    fold: bool,
    as_json: bool,
) -> None:
    """Write the dictionary at SRC into DST, in another library's form.

    SRC and DST are folders (SRC may be a file), or places on the hub, as
    hf://owner/repository[@revision]/path: SRC is downloaded, DST uploaded. DST must be new or empty.

    A form that cannot express all that the dictionary does is refused, with every reason. What is
    written is read back and compared bit for bit in what it means before DST appears.

    With --fold, a rule that FORMAT has no words for is folded into the weights where that leaves
    every code and every reconstruction what they were, but for rounding: the subtraction of b_dec,
    constant factors, decoder lengths, BatchTopK's threshold. What was folded is said, and by how
    much it changed the reconstruction of random inputs.

    `monosemy` and `saelens` are the same files; `saelens` takes only what SAELens itself runs. An
    unknown FORMAT is answered with those there are.

    \b
    Examples:
      monosemy convert runs/demo/dictionary shared --to sparsify
      monosemy convert old-sae new-sae --from saelens_old --to saelens
      monosemy convert transcoders layer-3 --part layer_3 --to saelens
      monosemy convert runs transcoders --to circuit_tracer
      monosemy convert runs/jumprelu/dictionary scope --to gemma_scope --fold
      monosemy convert runs/demo/dictionary hf://me/my-dictionaries/demo --to saelens
    """
    quiet_libraries()
    from monosemy.dictionaries.foreign.conversion import convert

    done = convert(source, target, to, given, part, fold)
    if as_json:
        print_json(asdict(done))
        return
    count = len(done.parts)
    what = "1 dictionary" if count == 1 else f"{count:,} dictionaries"
    click.echo(f"{what}, read as {done.read_as}, written as {done.written_as} to {done.target}")
    for name, size in done.files.items():
        click.echo(f"  {name}  {size:,} bytes")
    for step in done.folded:
        click.echo(f"Folded: {step}.")
    if done.folded:
        click.echo(
            "The largest difference of a reconstruction, on random inputs: "
            f"{done.difference:.1g} of its length."
        )
    click.echo("Read back and compared: every bit means the same.")
