"""``monosemy lab analogy``: a is to b as c is to what."""

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


@click.command("analogy", context_settings=CONTEXT_SETTINGS)
@click.option("--vectors", metavar="FILE", help="Word vectors: a word a line, or .npz.")
@click.option("--model", help="Read the vectors of words inside this model instead.")
@click.option("--site", default="embedding", show_default=True,
              help="Rows of the embedding, or a site that is read, each word alone.")  # fmt: skip
@click.option("--dictionary", metavar="RUN",
              help="Ask in the feature space of a run's dictionary, and name the features that "
                   "carry each offset.")  # fmt: skip
@click.option("--questions", metavar="FILE", help="Four words a line, ': name' above a section.")
@click.option("--ask", metavar="QUESTION", help="One question, as in 'wife - husband + king'.")
@click.option("--attributes", type=int, default=4, show_default=True, help="Of the made world.")
@click.option("--entities", type=int, default=16, show_default=True, help="Of the made world.")
@click.option("--seed", type=int, default=0, show_default=True, help="Root of every random draw.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for analogy.svg and its JSON.")
@json_option
@quiet_option
def command(
    vectors: str | None, model: str | None, site: str, dictionary: str | None,
    questions: str | None, ask: str | None, attributes: int, entities: int, seed: int,
    out: Path | None, as_json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Ask analogies by 3CosAdd, 3CosMul and pair direction, and look at relations as vectors.

    Every question counts twice: without its own words as answers, which is the custom, and with
    them, which is harder. Relations are compared with the same words dealt anew, and each says the
    smallest gain of the one axis that would make it exact. Without files a world is made in which
    every word is an entity with an attribute, and its vectors are asked at every dimension.

    \b
    Examples:
      monosemy lab analogy --out analogy
      monosemy lab analogy --vectors PATH/glove.txt --ask 'wife - husband + king'
      monosemy lab analogy --vectors PATH/glove.txt --questions PATH/questions-words.txt --json
      monosemy lab analogy --model PATH/minilm-l6 --questions PATH/questions-words.txt
      monosemy lab analogy --dictionary runs/demo --questions mine.txt
    """
    quiet_libraries()
    from monosemy.cli.progress import choose
    from monosemy.foundation import storage
    from monosemy.recipes.laboratory.analogy import AnalogyConfig, examine_vectors, examine_world
    from monosemy.reports import analogy as reports
    from monosemy.superposition.cooccurrence import WorldOfWords
    from monosemy.tensors.compute import Compute

    config = AnalogyConfig(vectors, model, site, dictionary, questions, ask)
    compute, watched = Compute(seed=seed), choose(quiet or as_json)
    if vectors or model or dictionary:
        found = examine_vectors(config, compute, watched)
    else:
        world = WorldOfWords(attributes=attributes, entities=entities)
        found = examine_world(world, compute, watched)
    if out:
        storage.write_json(out / "analogy.json", found)
        if "world" in found:
            storage.write_text(out / "analogy.svg", reports.world_svg([found]))
        elif found.get("relations"):
            storage.write_text(out / "analogy.svg", reports.relations_svg(found))
    if as_json:
        print_json(found)
        return
    from rich.console import Console

    Console().print(reports.analogy_report(found))
    if out:
        click.echo(f"Numbers: {out / 'analogy.json'}")
