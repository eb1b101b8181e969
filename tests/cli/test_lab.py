"""``monosemy lab``: instruments are found by name, and listed without being imported."""

from __future__ import annotations

import importlib

import pytest
from click.testing import CliRunner

from monosemy.cli.lab import INSTRUMENTS, command
from monosemy.foundation.errors import UserError


def test_every_instrument_is_there():
    for name in INSTRUMENTS:
        module = importlib.import_module(f"monosemy.cli.laboratory.{name}")
        assert module.command.name == name
        assert "Examples:" in (module.command.help or "")


def test_the_overview_names_them():
    said = CliRunner().invoke(command, ["--help"]).output
    assert all(name in said for name in INSTRUMENTS)


def test_an_unknown_instrument_is_named():
    with pytest.raises(UserError, match="unknown instrument 'page'; known: .*pages"):
        CliRunner().invoke(command, ["page"], catch_exceptions=False)


def test_an_unknown_page_is_refused_before_work(tmp_path):
    with pytest.raises(UserError, match="unknown page 'fredom'"):
        CliRunner().invoke(
            command, ["pages", "fredom", "--out", str(tmp_path)], catch_exceptions=False
        )
    assert not list(tmp_path.iterdir())
