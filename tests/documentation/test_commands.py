"""Every command shown in the documentation is one that the command line takes."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from monosemy.cli import cli
from monosemy.cli.options import parse_changes
from monosemy.foundation.errors import UserError
from monosemy.recipes.config import override
from monosemy.recipes.recipe import DictionaryRecipe
from monosemy.recipes.specimen import SpecimenRecipe

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
_BLOCK = re.compile(r"^```(bash|sh|console|text)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(r"""(?:"[^"]*"|'[^']*'|(?! {2}).)*""")
_STOPS = {"|", ">", ">>", "2>", "&&", ";", "#", "&"}


def commands(text: str) -> Iterator[str]:
    """Lines of fenced blocks that begin with ``monosemy`` or ``make``, continuations joined."""
    for kind, block in _BLOCK.findall(text):
        for line in re.sub(r"\\\n\s*", "", block).splitlines():
            line = line.strip().removeprefix("$ ")
            # In help texts a remark follows a command behind two spaces.
            line = _COMMAND.match(line)[0] if kind == "text" else line
            if re.match(r"(monosemy|make)\b(?! *:)", line):
                yield line


def check(line: str) -> None:
    """Raise unless the command line would take `line`."""
    words = shlex.split(line, comments=True)
    stop = next((place for place, word in enumerate(words) if word in _STOPS), len(words))
    program, *arguments = words[:stop]
    if program == "make":
        targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        goals = [word for word in arguments if "=" not in word]
        assert set(goals) <= set(targets), f"{line}: no such target"
        return
    _parse(cli, "monosemy", arguments)


def _parse(command: click.Command, name: str, arguments: list[str]) -> None:
    try:
        context = command.make_context(name, list(arguments))
    except click.exceptions.Exit:  # --help and --version have said what they say
        return
    if isinstance(command, click.Group):
        verb, inner, rest = command.resolve_command(
            context, [*context._protected_args, *context.args]
        )
        assert verb is not None
        assert inner is not None
        _parse(inner, f"{name} {verb}", rest)
        return
    recipe = SpecimenRecipe() if "specimen" in name else DictionaryRecipe()
    override(recipe, parse_changes(context.params.get("changes", ())))
    if name == "monosemy train":
        flags = {key: value for key, value in context.params.items() if value is not None}
        override(recipe, {key: flags[key] for key in vars(recipe).keys() & flags.keys()})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_parse(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for line in commands(page.read_text(encoding="utf-8")):
        check(line)


def test_commands_are_found() -> None:
    text = "```bash\n$ monosemy sites a \\\n    --json  # all\nls\nmake demo\n```\nmonosemy fly\n"
    help_text = "```text\nUsage: monosemy x\n  monosemy specimen sample '  a'  prose --here\n```\n"
    assert list(commands(text + help_text)) == [
        "monosemy sites a --json  # all",
        "make demo",
        "monosemy specimen sample '  a'",
    ]
    shown = [line for page in PAGES for line in commands(page.read_text(encoding="utf-8"))]
    assert len(shown) > 30


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("monosemy fly", UserError),
        ("monosemy train demo --latent 8", click.NoSuchOption),
        ("monosemy train demo --latents eight", UserError),
        ("monosemy train demo --set optim.clap=1", UserError),
        ("monosemy capture specimen", click.MissingParameter),
        ("monosemy specimen train --set latents=3", UserError),
        ("monosemy specimen walk", click.UsageError),
        ("make coffee", AssertionError),
    ],
)
def test_wrong_commands_fail(line: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        check(line)


@pytest.mark.parametrize(
    "line", ["monosemy --help", "monosemy evaluate a --json > b", "make test SLOW=1", "make"]
)
def test_right_commands_pass(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    check(line)
