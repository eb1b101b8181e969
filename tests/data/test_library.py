import pytest

from monosemy.data import library
from monosemy.data.text import describe_standard_library, open_corpus
from monosemy.foundation.errors import UserError


def names(corpus):
    return [document.name for document in corpus.documents]


def texts(corpus):
    return [document.text for document in corpus.documents]


class TestStandardLibrary:
    def test_holds_sources_and_language_topics_in_a_fixed_order(self):
        first, second = open_corpus("stdlib"), open_corpus("stdlib")
        assert first == second
        assert first.fingerprint == second.fingerprint
        assert "json/decoder.py" in names(first)
        assert any(
            name.startswith("pydoc_data/topics.py#") for name in names(open_corpus("stdlib", "all"))
        )
        assert first.characters > 5_000_000

    def test_leaves_out_tests_tables_and_what_not_every_build_has(self):
        for name in names(open_corpus("stdlib", "all")):
            parts = name.split("/")
            assert not {"test", "tests", "site-packages", "idlelib", "tkinter"} & set(parts)
            assert not name.startswith("encodings/cp")

    def test_split_never_overlaps_in_name_or_in_text(self):
        train, heldout = open_corpus("stdlib", "train"), open_corpus("stdlib", "heldout")
        assert not set(names(train)) & set(names(heldout))
        assert not {t for t in texts(train) if t.strip()} & set(texts(heldout))
        everything = open_corpus("stdlib", "all")
        assert len(train.documents) + len(heldout.documents) == len(everything.documents)
        assert 0.05 < heldout.characters / everything.characters < 0.25

    def test_missing_sources_are_explained(self, tmp_path, monkeypatch):
        monkeypatch.setattr(library.sysconfig, "get_paths", lambda: {"stdlib": str(tmp_path)})
        with pytest.raises(UserError, match="sources of the standard library are missing.*--text"):
            open_corpus("stdlib")

    def test_says_what_decides_its_content(self):
        assert describe_standard_library()["python"].count(".") == 2
