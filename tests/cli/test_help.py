"""Every verb explains itself, at once, with examples that are true."""

import re
import shlex
import subprocess
import sys

import click
import pytest

from monosemy.cli import VERBS, cli

GROUPS = {"specimen": ("train", "sample"), "truth": ("worlds", "run", "table")}
COMMANDS = [(verb,) for verb in VERBS]
COMMANDS += [(group, verb) for group, verbs in GROUPS.items() for verb in verbs]


def command_of(words: tuple[str, ...]) -> click.Command:
    found: click.Command = cli
    for word in words:
        found = found.get_command(click.Context(found), word)
    return found


def examples(words: tuple[str, ...]) -> list[list[str]]:
    """The command lines under a verb's "Examples:", as a shell would split them."""
    text = command_of(words).help.partition("Examples:")[2].replace("\\\n", " ")
    lines = [line.partition(" > ")[0] for line in text.splitlines() if line.strip()]
    return [shlex.split(line) for line in lines]


def test_the_list_of_commands_is_complete():
    for verb in VERBS:
        commands = getattr(command_of((verb,)), "commands", {})
        assert set(commands) == set(GROUPS.get(verb, ())), verb


def test_the_overview_names_every_verb(monosemy):
    said = monosemy("--help")
    assert said.code == 0
    assert said.out.startswith("Usage: monosemy [OPTIONS]")
    in_one_line = " ".join(said.out.split())
    for verb, line in VERBS.items():
        assert f"{verb} {line}" in in_one_line
    assert monosemy("-h") == said


def test_the_version(monosemy):
    from importlib import metadata

    assert metadata.version("monosemy") in monosemy("--version").out


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_verb_helps_with_examples(monosemy, words):
    said = monosemy(*words, "--help")
    assert (said.code, said.err) == (0, "")
    assert "Examples:" in said.out
    assert f"monosemy {' '.join(words)}" in said.out.partition("Examples:")[2]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_option_says_what_it_does(words):
    for parameter in command_of(words).params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_example_is_one_that_the_verb_takes(words):
    found = examples(words)
    assert found
    for program, *rest in found:
        assert program == "monosemy"
        parse(rest)


def parse(words: list[str]) -> None:
    """Reads the words without running anything; click raises where they do not fit."""
    found, taken = cli, 0
    while isinstance(found, click.Group):
        found, taken = found.get_command(click.Context(found), words[taken]), taken + 1
        assert found is not None, words
    found.make_context(words[taken - 1], list(words[taken:]))


def test_an_example_that_is_not_true_would_be_seen():
    with pytest.raises(click.NoSuchOption):
        parse(["train", "--latnts", "3"])


def test_the_overviews_own_examples_are_true():
    lines = [line.strip() for line in cli.help.splitlines()]
    found = [re.split(r"\s{2,}", line)[0] for line in lines if line.startswith("monosemy ")]
    assert len(found) >= 4
    for line in found:
        parse(shlex.split(line)[1:])


LIGHT = """
import sys
from monosemy.cli import main
for words in {words}:
    sys.argv = ["monosemy", *words, "--help"]
    try:
        main()
    except SystemExit as stop:
        assert not stop.code
heavy = {{"torch", "transformers", "numpy", "scipy", "matplotlib", "rich"}} & set(sys.modules)
print("HEAVY", sorted(heavy))
import torch
print("CONTROL", "torch" in sys.modules)
"""


def test_help_imports_nothing_heavy():
    script = LIGHT.format(words=[(), *COMMANDS])
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2:] == ["HEAVY []", "CONTROL True"]
