"""Every dictionary has a form; SAELens' where there is one."""

import pytest

from monosemy.dictionaries import files
from monosemy.dictionaries.foreign import own_reading
from monosemy.dictionaries.selection import ReLU
from monosemy.foundation.errors import UserError


def test_the_architecture_is_saelens_where_there_is_one(case, config_of, tmp_path):
    dictionary, architecture = case
    files.save(dictionary, tmp_path)
    assert config_of(tmp_path)["architecture"] == architecture


def test_there_is_a_case_of_each_of_ours(ours, tmp_path, config_of):
    files.save(ours, tmp_path)
    assert config_of(tmp_path)["architecture"] in own_reading.OWN


def test_a_selection_without_a_form_is_refused(named, tmp_path):
    dictionary = named("relu")
    dictionary.selection = ReLU()
    dictionary.selection.kind = "softmax"
    with pytest.raises(UserError, match="the selection 'softmax' has no form in files; known: rel"):
        files.save(dictionary, tmp_path / "new")
    assert not (tmp_path / "new").exists()
