"""``monosemy capture``: activations to disk."""

from __future__ import annotations

from pathlib import Path

import click

from monosemy.cli.options import (
    CONTEXT_SETTINGS,
    json_option,
    place_options,
    print_json,
    quiet_libraries,
    quiet_option,
)


@click.command("capture", context_settings=CONTEXT_SETTINGS)
@click.argument("model", default="specimen")
@click.option("--site", "names", multiple=True, required=True,
              help="Where to read; repeat it, or use wildcards, for several in one pass.")  # fmt: skip
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Folder for the shards."
)
@click.option("--text", default="stdlib", show_default=True, help="Text to read.")
@click.option("--split", default="train", show_default=True, help="train, heldout or all.")
@click.option("--tokens", type=int, help="Stop after this many activations [all of the text].")
@click.option("--context", type=int, default=256, show_default=True, help="Tokens in a window.")
@click.option("--keep-bos", is_flag=True, help="Keep beginning-of-document positions.")
@click.option("--store", help="Precision on disk [the model's].")
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Fixes the order of documents."
)
@place_options
@json_option
@quiet_option
def command(
    model: str,
    names: tuple[str, ...],
    out: Path,
    text: str,
    split: str,
    tokens: int | None,
    context: int,
    keep_bos: bool,
    store: str | None,
    seed: int,
    device: str,
    dtype: str,
    as_json: bool,
    quiet: bool,
) -> None:
    """Write activations of MODEL to disk as checked safetensors shards.

    All sites are read in one forward pass. A stopped capture goes on when the same command runs
    again. The form of the files is documented: docs/formats/shards.md

    \b
    Examples:
      monosemy capture --site blocks.0.mlp.hook_post --out acts
      monosemy capture ./my-model --site 'blocks.*.hook_resid_post' --text ./docs --tokens 2000000 \\
          --out acts --store bfloat16
      monosemy train demo --shards acts
    """
    quiet_libraries()
    from monosemy.cli.progress import choose
    from monosemy.data.capture import capture
    from monosemy.data.text import open_corpus
    from monosemy.data.tokens import Packing, pack
    from monosemy.models.loading import load
    from monosemy.models.sites import match
    from monosemy.tensors.compute import Compute

    compute = Compute(device, dtype, seed)
    progress = choose(quiet or as_json)
    loaded = load(model, compute)
    sites = match(loaded.model, list(names))
    packing = Packing(context=min(context, loaded.context), tokens=tokens, drop_bos=not keep_bos)
    contexts = pack(open_corpus(text, split), loaded.tokenizer, packing, compute, progress)
    sources = capture(loaded, sites, contexts, out, dtype=store, progress=progress)
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    if as_json:
        widths = {name: source.width for name, source in sources.items()}
        documents = len(contexts.documents)
        print_json({"folder": str(out), "tokens": contexts.tokens, "documents": documents,
                    "sites": widths, "bytes": size})  # fmt: skip
        return
    click.echo(
        f"{contexts.tokens:,} activations of {len(sources)} site(s), "
        f"{size / 2**20:,.0f} MiB: {out}\n"
        f"Train on them: monosemy train demo --model {model} --site {sites[0].name} --shards {out}"
    )
