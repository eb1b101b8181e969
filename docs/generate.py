"""Write the generated pages of docs/: ``--help`` of verbs, keys of recipes, labelled concepts.

``python docs/generate.py`` writes them; ``python docs/generate.py --check`` names the pages that
differ from what would be written, and exits with 1 if there are any.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from monosemy.cli import VERBS, cli
from monosemy.data.concepts.catalogue import NAMES, open_concepts
from monosemy.data.concepts.sets import LAST, Concept
from monosemy.recipes.catalogue import RECIPES
from monosemy.recipes.recipe import DictionaryRecipe
from monosemy.recipes.specimen import SpecimenRecipe

DOCS = Path(__file__).resolve().parent
WIDTH = 96
NOTICE = "<!-- Written by docs/generate.py; change the code and run `make docs`. -->\n\n"


def pages() -> dict[str, str]:
    """Every generated page: its path under docs/, and its text."""
    found = {f"cli/{verb}.md": _verb_page(verb) for verb in VERBS}
    return {"cli/index.md": _overview_page(), **found, "recipe-keys.md": _keys_page(),
            "concepts.md": _concepts_page()}  # fmt: skip


def stale(docs: Path) -> list[str]:
    """Pages under `docs` that are missing, differ, or belong to a verb that is gone."""
    wanted = pages()
    there = {f"cli/{path.name}" for path in (docs / "cli").glob("*.md")}
    differ = [
        name
        for name, text in wanted.items()
        if not (docs / name).exists() or (docs / name).read_text(encoding="utf-8") != text
    ]
    return sorted(differ + list(there - wanted.keys()))


def write(docs: Path) -> None:
    """Write every page, and remove those of verbs that are gone."""
    for name in stale(docs):
        (docs / name).unlink(missing_ok=True)
    for name, text in pages().items():
        (docs / name).parent.mkdir(parents=True, exist_ok=True)
        (docs / name).write_text(text, encoding="utf-8")


def main(arguments: list[str], docs: Path = DOCS) -> int:
    """Write or check; returns the exit code."""
    if arguments not in ([], ["--check"]):
        print("usage: python docs/generate.py [--check]", file=sys.stderr)
        return 2
    if not arguments:
        write(docs)
        return 0
    for name in (found := stale(docs)):
        print(f"docs/{name} is stale; run: make docs", file=sys.stderr)
    return 1 if found else 0


# --- the command line ----------------------------------------------------------------------------


def _overview_page() -> str:
    rows = "".join(f"| [`{verb}`]({verb}.md) | {text} |\n" for verb, text in VERBS.items())
    return (
        f"{NOTICE}# The command line\n\n| verb | what it does |\n| --- | --- |\n{rows}\n"
        f"{_fenced(_help(_context(cli, 'monosemy')))}"
    )


def _verb_page(verb: str) -> str:
    root = _context(cli, "monosemy")
    command = cli.get_command(root, verb)
    assert command is not None
    parts = [f"## `{path}`\n\n{_fenced(text)}" for path, text in _helps(command, verb, root)]
    return f"{NOTICE}# monosemy {verb}\n\n{VERBS[verb]}\n\n" + "\n".join(parts)


def _helps(command: click.Command, name: str, parent: click.Context) -> Iterator[tuple[str, str]]:
    """A command's path and help, then those of its subcommands."""
    context = _context(command, name, parent)
    yield context.command_path, _help(context)
    if isinstance(command, click.Group):
        for name in sorted(command.list_commands(context)):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from _helps(inner, name, context)


def _context(
    command: click.Command, name: str, parent: click.Context | None = None
) -> click.Context:
    # A fixed width, so that the pages do not depend on the terminal that made them.
    return click.Context(
        command, parent, name, terminal_width=WIDTH, help_option_names=["-h", "--help"]
    )


def _help(context: click.Context) -> str:
    lines = context.command.get_help(context).splitlines()
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _fenced(text: str) -> str:
    return f"```text\n{text}```\n"


# --- recipes -------------------------------------------------------------------------------------


def _keys_page() -> str:
    named = "\n".join(_recipe_row(name, make()) for name, make in RECIPES.items())
    return (
        f"{NOTICE}# Keys of a recipe\n\n"
        "For TOML files and for `--set KEY=VALUE`. A dotted key reaches into a nested table: in\n"
        "TOML, `optim.clip = 0.5` or a section `[optim]`. An unknown key is an error that names\n"
        "the nearest known one.\n\n"
        "## A dictionary\n\n`monosemy train RECIPE`, `monosemy demo`; in Python "
        f"`monosemy.DictionaryRecipe`.\n\n{_table(DictionaryRecipe())}\n"
        f"### Built-in recipes\n\n| recipe | what it changes | what it is |\n"
        f"| --- | --- | --- |\n{named}\n\n"
        "## The specimen\n\n`monosemy specimen train`; in Python "
        f"`monosemy.recipes.specimen.SpecimenRecipe`.\n\n{_table(SpecimenRecipe())}"
    )


def _table(recipe: Any) -> str:
    rows = [
        f"| `{key}` | {kind} | {_shown(value)} | {meaning} |"
        for key, kind, value, meaning in _keys(recipe)
    ]
    return (
        "| key | type | default | meaning |\n| --- | --- | --- | --- |\n" + "\n".join(rows) + "\n"
    )


def _keys(recipe: Any, prefix: str = "") -> Iterator[tuple[str, str, Any, str]]:
    """Key, type, default and sentence of every field; nested ones dotted, after the plain ones."""
    meanings, nested = field_sentences(type(recipe)), []
    for field in dataclasses.fields(recipe):
        value = getattr(recipe, field.name)
        if dataclasses.is_dataclass(value):
            nested.append((f"{prefix}{field.name}.", value))
        else:
            kind = str(field.type).replace("|", "or")
            yield prefix + field.name, kind, value, meanings[field.name]
    for inner, value in nested:
        yield from _keys(value, inner)


def field_sentences(kind: type) -> dict[str, str]:
    """The docstring under each field of a dataclass, on one line, as Markdown."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    assert isinstance(tree, ast.ClassDef)
    found = {}
    for statement, after in zip(tree.body, tree.body[1:], strict=False):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            match after:
                case ast.Expr(value=ast.Constant(value=str(text))):
                    found[statement.target.id] = " ".join(text.replace("``", "`").split())
    return found


def _recipe_row(name: str, recipe: DictionaryRecipe) -> str:
    before = {key: value for key, _, value, _ in _keys(DictionaryRecipe())}
    changed = [
        f"`{key}` = {_shown(value)}" for key, _, value, _ in _keys(recipe) if value != before[key]
    ]
    meaning = (RECIPES[name].__doc__ or "").strip()
    return f"| `{name}` | {', '.join(changed) or 'nothing'} | {meaning} |"


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, tuple):
        return ", ".join(f"`{one}`" for one in value)
    return f"`{value:_}`" if type(value) is int and value >= 10_000 else f"`{value}`"


# --- concepts ------------------------------------------------------------------------------------


def _concepts_page() -> str:
    parts = []
    for name in NAMES:
        source = open_concepts(name)
        groups = dict.fromkeys(one.group for one in source.concepts.concepts)
        tables = "\n".join(
            _group_table(group, [one for one in source.concepts.concepts if one.group == group])
            for group in groups
        )
        parts.append(
            f"## {name}: {len(source.concepts)} concepts\n\n{_sentence(source.about)}\n\n{tables}"
        )
    return (
        f"{NOTICE}# Labelled concepts\n\n"
        "What `monosemy probe` knows of tokens from their text alone. A token has a concept where all\n"
        "its characters have it, and every concept above it; where only some have it, it counts on\n"
        "neither side. Under *last*, only the last token of a word has the concept, because a model\n"
        "that reads from left to right has not seen it before. `--lists` adds kinds of thing to\n"
        "english.\n\n" + "\n".join(parts)
    )


def _group_table(group: str, concepts: list[Concept]) -> str:
    cells = [
        (one.name, ", ".join(one.parents), LAST if one.token == LAST else "", one.about)
        for one in concepts
    ]
    rows = "".join(f"| {' | '.join(map(_cell, row))} |\n" for row in cells)
    head = "| concept | is a kind of | token | a token has it |\n| --- | --- | --- | --- |\n"
    return f"### {group}\n\n{head}{rows}"


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."


def _cell(text: str) -> str:
    escaped = text.replace("\\", "\\\\")
    for sign in "|*_<>[]`":
        escaped = escaped.replace(sign, f"\\{sign}")
    return escaped


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
