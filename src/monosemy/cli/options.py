"""Options that several verbs share, and how results are printed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON value, no bars.")
quiet_option = click.option("--quiet", "-q", is_flag=True, help="No progress on standard error.")

CONTEXT_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


def place_options(function: F) -> F:
    """``--device`` and ``--dtype``: where and in what precision the model is read."""
    for option in (
        click.option(
            "--dtype", default="float32", show_default=True, help="Precision of the model."
        ),
        click.option(
            "--device", default="cpu", show_default=True, help="cpu, cuda, cuda:N or mps."
        ),
    ):
        function = option(function)
    return function


def parse_changes(pairs: tuple[str, ...]) -> dict[str, str]:
    """``("a.b=1",)`` as ``{"a.b": "1"}``; a `UserError` names what has no ``=``."""
    from monosemy.foundation.errors import UserError

    wrong = [pair for pair in pairs if "=" not in pair]
    if wrong:
        raise UserError(f"--set {wrong[0]!r}: wanted KEY=VALUE, as in --set optim.clip=0.5")
    return dict(pair.split("=", 1) for pair in pairs)


def print_json(value: Any) -> None:
    """One JSON value on standard output."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def quiet_libraries() -> None:
    """Hugging Face libraries warn and draw bars of their own; this tool says what matters itself."""
    import os

    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
