import gzip
import json

import pytest

from monosemy.data.text import Document, open_corpus
from monosemy.foundation.errors import UserError


def names(corpus):
    return [document.name for document in corpus.documents]


def texts(corpus):
    return [document.text for document in corpus.documents]


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

    def test_binary_text(self, tmp_path):
        path = tmp_path / "x.txt"
        path.write_bytes(b"abc\xff\xfe")
        with pytest.raises(UserError, match=r"x\.txt is not UTF-8 text \(byte 3 is 0xff\)"):
            open_corpus(path, "all")
        path.write_bytes(b"abc\0")
        with pytest.raises(UserError, match=r"x\.txt holds a NUL byte at 3: binary"):
            open_corpus(path, "all")


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
