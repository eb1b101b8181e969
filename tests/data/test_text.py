import pytest

from monosemy.data.text import Corpus, Document, open_corpus, split_of
from monosemy.foundation.errors import UserError


def names(corpus):
    return [document.name for document in corpus.documents]


def texts(corpus):
    return [document.text for document in corpus.documents]


class TestSplit:
    def test_one_name_in_eight_is_held_out(self):
        held = sum(split_of(f"name {i}") == "heldout" for i in range(8000))
        assert 900 < held < 1100

    def test_a_document_stays_on_its_side_when_others_come(self, folder):
        before = names(open_corpus(folder, "heldout"))
        (folder / "a" / "99.txt").write_text("new")
        assert set(before) <= set(names(open_corpus(folder, "heldout")))

    def test_all_documents_of_a_file_in_a_folder_are_on_one_side(self, folder):
        def files(split):
            return {name.split("#")[0] for name in names(open_corpus(folder, split))}

        assert not files("train") & files("heldout")
        assert len(files("train") | files("heldout")) == 40

    def test_unknown_split_names_the_nearest(self):
        with pytest.raises(UserError, match="unknown split 'trian'.*did you mean 'train'"):
            open_corpus("stdlib", "trian")

    def test_a_split_without_documents_says_so(self, tmp_path):
        path = tmp_path / "one.txt"
        path.write_text("some text")
        other = "train" if split_of("one.txt") == "heldout" else "heldout"
        with pytest.raises(
            UserError, match=f"no document of .* falls into the split '{other}'.*all"
        ):
            open_corpus(path, other)


class TestBadText:
    def test_unknown_source(self):
        with pytest.raises(UserError, match="unknown text source 'stdlb'.*did you mean 'stdlib'"):
            open_corpus("stdlb")

    @pytest.mark.parametrize("content", ["", "  \n\n", "<|endoftext|>\n<|endoftext|>\n"])
    def test_empty_text(self, tmp_path, content):
        path = tmp_path / "empty.txt"
        path.write_text(content)
        with pytest.raises(UserError, match=r"no text in .*empty\.txt"):
            open_corpus(path, "all")


def test_fingerprint_sees_every_name_and_every_character():
    def fingerprint(*documents):
        return Corpus("c", "all", tuple(Document(*d) for d in documents)).fingerprint

    one = fingerprint(("a", "xy"), ("b", "z"))
    assert one == fingerprint(("a", "xy"), ("b", "z"))
    others = [
        fingerprint(("a", "xy"), ("c", "z")),
        fingerprint(("a", "xx"), ("b", "z")),
        fingerprint(("b", "z"), ("a", "xy")),
        fingerprint(("a", "x"), ("yb", "z")),
    ]
    assert len({one, *others}) == 5
