"""Where pages look for models and texts that do not ship with the package."""

from __future__ import annotations

from pathlib import Path

from monosemy.recipes.laboratory.data_folder import VARIABLE, find, left_out


def test_the_named_folder_is_looked_at_first(tmp_path, monkeypatch):
    (tmp_path / "vectors").mkdir()
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    assert find("vectors") == tmp_path / "vectors"
    assert find("models") is None


def test_else_the_folder_beside_the_current_one(tmp_path, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    (tmp_path / "shared" / "data" / "vectors").mkdir(parents=True)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert find("vectors") == Path("../shared/data/vectors")


def test_a_page_says_what_it_left_out():
    assert left_out("GloVe", "vectors/x.txt").startswith("GloVe left out: `vectors/x.txt`")
