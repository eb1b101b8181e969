import re
from html.parser import HTMLParser
from urllib.parse import urlsplit

import pytest

from monosemy.foundation import storage
from monosemy.reports import measures
from monosemy.reports.page import page, write_page

_PAGES: dict[str, str] = {}
VOID = {"meta", "br", "img", "hr", "col", "input", "link"}


class Reader(HTMLParser):
    """Tags, attributes and text, as a browser would see them; refuses tags that do not match."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.attributes, self.text, self._open = [], [], "", []
        self.feed(html)
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.text += " " if tag in ("td", "p", "li", "dd") else ""
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if "style" not in self._open:
            self.text += data


def make(name, report):
    if name not in _PAGES:
        _PAGES[name] = page(report)
    return _PAGES[name]


@pytest.fixture
def html(_report):
    return make("whole", _report)


@pytest.fixture
def reader(html):
    return Reader(html)


def test_hostile_tokens_are_shown_and_never_obeyed(html, reader):
    assert "script" not in reader.tags
    assert "img" not in reader.tags
    assert "i" not in reader.tags  # a document's name
    assert not [name for _, name, _ in reader.attributes if name.startswith("on")]
    assert "<script>alert(1)</script>" in reader.text
    assert "{{ 7 * 7 }}" in reader.text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "\x1b" not in html
    assert "\u202e" not in html


def test_the_page_loads_nothing_from_elsewhere(html, reader):
    policy = next(
        v for t, n, v in reader.attributes if (t, n) == ("meta", "content") and "src" in v
    )
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    for tag, name, value in reader.attributes:
        if name in ("src", "srcset", "action", "data", "poster", "background"):
            pytest.fail(f"<{tag} {name}={value!r}>")
        if name in ("href", "xlink:href"):
            assert value.startswith("#")
    # The names of the two SVG vocabularies are no addresses that anything fetches.
    known = {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert set(re.findall(r"https?://[^\s\"'<)]+", html)) <= known
    assert "@import" not in html
    assert "url(" not in re.sub(r"url\(#[^)]+\)", "", html)


def test_links_inside_the_page_have_their_targets(reader):
    ids = [value for _, name, value in reader.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    targets = {urlsplit(v).fragment for _, n, v in reader.attributes if n in ("href", "xlink:href")}
    assert "feature-100" in targets
    assert targets <= set(ids)


def test_every_measurement_stands_in_the_table_with_its_interval(html, report):
    for one in measures.MEASURES:
        row = re.search(rf'data-measure="{one.name}">(.*?)</tr>', html, re.DOTALL).group(1)
        for column in measures.columns(report):
            found = measures.entry(report, column, one)
            assert measures.written(one, found["value"]) in row
            assert measures.interval(one, found) in row


def test_the_best_is_marked_and_the_random_models_loss_is_noted(html):
    row = re.search(r'data-measure="ce_recovered_zero">(.*?)</tr>', html, re.DOTALL).group(1)
    assert row.count('class="best"') == 1
    assert '<span class="best">0.950</span>' in row
    assert row.count("<sup>†</sup>") == 1
    assert "do not compare with the others" in html
    other = re.search(r'data-measure="l0">(.*?)</tr>', html, re.DOTALL).group(1)
    assert 'class="best"' not in other


def test_the_headlines_are_in_plain_words(reader):
    words = " ".join(reader.text.split())
    assert "95.0 % loss recovered" in words
    assert (
        "The best control (neurons) keeps 75.0 %. It leaves 0.20 of what that one leaves." in words
    )
    assert "of 4,096 describe an activation of 512 numbers." in words
    assert "never fire on 150,000 held-out tokens." in words


def test_a_token_is_shaded_by_its_activation_and_says_it(html):
    assert '<mark class="a9" title="10.00">return</mark>' in html
    assert re.search(r'<mark class="a[45]" title="5.00">⏎</mark>', html)
    assert not re.search(r'<mark[^>]*title="0.00"', html)


def test_features_say_where_they_peak_and_what_they_move(reader):
    words = " ".join(reader.text.split())
    assert "feature 100 fires on 1.00 % of tokens · strongest 10.00" in words
    assert "json/decoder0.py · character 1,234" in words
    assert "raises ␣None" in words
    assert "lowers ⏎⏎ ing" in words
    assert "2 more" in words  # seven examples, five shown at first


def test_the_page_says_how_it_was_made(reader):
    words = " ".join(reader.text.split())
    assert "monosemy demo --out 'a & b'" in words
    assert "231 seconds in all" in words
    assert "versions · torch 2.13.0" in words
    assert "model · parameters 1,278,720" in words
    assert "train 131.0 s" in words


def test_whatever_is_missing_explains_itself(bare):
    reader = Reader(make("bare", bare))
    words = " ".join(reader.text.split())
    for reason in (
        "No controls were measured in this run",
        "The density of each latent was not recorded",
        "No features are in this report",
        "This report holds no training curve",
        "The command was not recorded",
        "How long each stage took was not recorded",
    ):
        assert reason in words
        assert reason not in Reader(_PAGES["whole"]).text if "whole" in _PAGES else True
    assert "svg" not in reader.tags


def test_a_feature_without_its_parts_explains_itself(bare):
    dead = {"id": 5, "density": 0.0, "max_activation": 0.0, "examples": []}
    bare["features"] = [dead, {**dead, "id": 6, "effects_note": "BertModel has no unembedding"}]
    words = Reader(page(bare)).text
    assert "No context to show" in words
    assert "Its direct effect on tokens was not measured." in words
    assert "BertModel has no unembedding" in words
    assert "no histogram" in words


def test_a_measurement_that_is_missing_is_a_dash(bare):
    del bare["metrics"]["cosine"]
    row = re.search(r'data-measure="cosine">(.*?)</tr>', page(bare), re.DOTALL).group(1)
    assert '<td class="none" title="not measured">–</td>' in row
    bare["metrics"]["cosine"] = {"value": None, "low": None, "high": None, "note": "no <length>"}
    row = re.search(r'data-measure="cosine">(.*?)</tr>', page(bare), re.DOTALL).group(1)
    assert '<td class="none" title="no &lt;length&gt;">–</td>' in row


def test_values_that_were_not_recorded_do_not_stop_the_page(bare):
    bare["dictionary"]["trained_tokens"] = None
    bare["recipe"] = {"seed": 0, "optim": {"learning_rate": 0.002}, "shards": None}
    bare["command"] = ["/somewhere/bin/monosemy", "demo"]
    words = " ".join(Reader(page(bare)).text.split())
    assert "recipe · optim learning rate 0.002" in words
    assert "dictionary · trained tokens –" in words
    assert "/somewhere" not in words


def test_the_same_report_gives_the_same_page(html, report):
    assert page(report) == html


def test_the_page_is_written_whole_or_not_at_all(bare, tmp_path, monkeypatch):
    path = write_page(bare, tmp_path / "new" / "report.html")
    before = path.read_text(encoding="utf-8")
    assert before.startswith("<!DOCTYPE html>")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage.os, "fsync", full)
    bare["metrics"]["cosine"]["value"] = 0.1
    with pytest.raises(storage.DiskFull):
        write_page(bare, path)
    assert path.read_text(encoding="utf-8") == before
    assert list(path.parent.iterdir()) == [path]
