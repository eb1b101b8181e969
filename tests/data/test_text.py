import gzip
import json

import pytest

from monosemy.data import text as text_module
from monosemy.data.text import Corpus, Document, describe_standard_library, open_corpus, split_of
from monosemy.foundation.errors import UserError


def names(corpus):
    return [document.name for document in corpus.documents]


def texts(corpus):
    return [document.text for document in corpus.documents]


@pytest.fixture
def folder(tmp_path):
    """Forty files in two folders, one of them hidden, and one that is no text."""
    for i in range(40):
        place = tmp_path / ("a" if i % 2 else "b") / f"{i:02d}.txt"
        place.parent.mkdir(exist_ok=True)
        place.write_text(f"text {i}\n<|endoftext|>\nmore {i}\n")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "hidden.txt").write_text("hidden")
    (tmp_path / "image.png").write_bytes(b"\x89PNG")
    return tmp_path


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
        monkeypatch.setattr(text_module.sysconfig, "get_paths", lambda: {"stdlib": str(tmp_path)})
        with pytest.raises(UserError, match="sources of the standard library are missing.*--text"):
            open_corpus("stdlib")

    def test_says_what_decides_its_content(self):
        assert describe_standard_library()["python"].count(".") == 2


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


class TestFiles:
    def test_a_line_ends_each_document(self, tmp_path):
        path = tmp_path / "x.txt"
        path.write_text("one\n<|endoftext|>\n\n  two\n<|endoftext|> \nthree\n")
        corpus = open_corpus(path, "all")
        assert texts(corpus) == ["one", "two", "three"]
        assert names(corpus) == ["x.txt#0", "x.txt#1", "x.txt#2"]

    def test_the_mark_inside_a_line_is_text(self, tmp_path):
        path = tmp_path / "x.py"
        path.write_text('END = "<|endoftext|>"\nprint(END)\n')
        assert texts(open_corpus(path, "all")) == ['END = "<|endoftext|>"\nprint(END)\n']

    def test_a_file_without_the_mark_is_one_document_as_it_is(self, tmp_path):
        path = tmp_path / "x.txt"
        path.write_bytes("  é\r\nb \n".encode())
        assert open_corpus(path, "all").documents == (Document("x.txt", "  é\r\nb \n"),)

    def test_a_byte_order_mark_is_no_character(self, tmp_path):
        path = tmp_path / "x.txt"
        path.write_bytes("\ufeffé".encode())
        assert texts(open_corpus(path, "all")) == ["é"]

    @pytest.mark.parametrize("name", ["x.txt.gz", "x.jsonl.gz"])
    def test_compressed_files(self, tmp_path, name):
        path = tmp_path / name
        line = "hello\n" if name == "x.txt.gz" else '{"text": "hello\\n"}\n'
        path.write_bytes(gzip.compress(line.encode()))
        assert texts(open_corpus(path, "all")) == ["hello\n"]

    def test_a_cut_gzip_file_is_named(self, tmp_path):
        path = tmp_path / "x.txt.gz"
        path.write_bytes(gzip.compress(b"hello" * 1000)[:-10])
        with pytest.raises(UserError, match="x.txt.gz is not a whole gzip file"):
            open_corpus(path, "all")

    def test_json_lines(self, tmp_path):
        path = tmp_path / "x.jsonl"
        path.write_text(json.dumps({"text": "one", "other": 1}) + "\n\n" + '{"text": "two"}\n')
        corpus = open_corpus(path, "all")
        assert texts(corpus) == ["one", "two"]
        assert names(corpus) == ["x.jsonl#0", "x.jsonl#1"]

    def test_json_lines_end_at_line_feeds_only(self, tmp_path):
        path = tmp_path / "x.jsonl"
        strange = "a\u2028b\x85c"
        path.write_text(json.dumps({"text": strange}, ensure_ascii=False) + "\r\n", newline="")
        assert texts(open_corpus(path, "all")) == [strange]

    @pytest.mark.parametrize("line", ["not json", '{"txt": "x"}', '["text"]', "3"])
    def test_a_bad_json_line_is_named(self, tmp_path, line):
        path = tmp_path / "x.jsonl"
        path.write_text('{"text": "fine"}\n' + line + "\n")
        with pytest.raises(UserError, match="x.jsonl, line 2: wanted a JSON object with a string"):
            open_corpus(path, "all")

    def test_text_that_is_no_string_is_named(self, tmp_path):
        path = tmp_path / "x.jsonl"
        path.write_text('{"text": 3}\n')
        with pytest.raises(UserError, match="document 0: 'text' is int, not a string"):
            open_corpus(path, "all")

    def test_half_a_surrogate_pair_is_named(self, tmp_path):
        path = tmp_path / "x.jsonl"
        path.write_text('{"text": "fine"}\n{"text": "bad \\ud800"}\n{"text": "\\udfff"}\n')
        with pytest.raises(UserError) as caught:
            open_corpus(path, "all")
        assert "2 problems" in str(caught.value)
        wanted = r"document 'x.jsonl#1' holds '\ud800' at character 4, which is not Unicode text"
        assert wanted in str(caught.value)


class TestFolders:
    def test_reads_text_files_by_name_and_skips_hidden_ones(self, folder):
        corpus = open_corpus(folder, "all")
        assert names(corpus)[:3] == ["a/01.txt#0", "a/01.txt#1", "a/03.txt#0"]
        assert len(corpus.documents) == 80
        assert not any("hidden" in name for name in names(corpus))

    def test_no_text_files_says_which_are_wanted(self, tmp_path):
        (tmp_path / "x.png").write_bytes(b"")
        with pytest.raises(UserError, match=r"no text files in .*: wanted \.txt, .*\.jsonl"):
            open_corpus(tmp_path)

    def test_datasets_folders(self, tmp_path):
        datasets = pytest.importorskip("datasets")
        rows = {"text": [f"row {i}" for i in range(30)], "label": list(range(30))}
        table = datasets.Dataset.from_dict(rows)
        table.save_to_disk(tmp_path / "one")
        datasets.DatasetDict({"train": table, "test": table}).save_to_disk(tmp_path / "two")
        assert texts(open_corpus(tmp_path / "one", "all")) == rows["text"]
        assert names(open_corpus(tmp_path / "two", "all"))[::30] == ["train#0", "test#0"]
        train, held = (set(names(open_corpus(tmp_path / "one", s))) for s in ("train", "heldout"))
        assert not train & held
        assert len(train | held) == 30

    def test_a_dataset_without_text_names_its_columns(self, tmp_path):
        datasets = pytest.importorskip("datasets")
        datasets.Dataset.from_dict({"body": ["x"]}).save_to_disk(tmp_path / "d")
        with pytest.raises(UserError, match="no column 'text' among body"):
            open_corpus(tmp_path / "d")

    def test_a_damaged_dataset_is_named(self, tmp_path):
        pytest.importorskip("datasets")
        (tmp_path / "dataset_info.json").write_text("{}")
        with pytest.raises(UserError, match="is a datasets folder that cannot be read"):
            open_corpus(tmp_path)


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

    def test_binary_text(self, tmp_path):
        path = tmp_path / "x.txt"
        path.write_bytes(b"abc\xff\xfe")
        with pytest.raises(UserError, match=r"x\.txt is not UTF-8 text \(byte 3 is 0xff\)"):
            open_corpus(path, "all")
        path.write_bytes(b"abc\0")
        with pytest.raises(UserError, match=r"x\.txt holds a NUL byte at 3: binary"):
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
