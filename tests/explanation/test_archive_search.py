import re
import time

import pytest

from monosemy.explanation.archive import Archive
from monosemy.foundation.errors import UserError


@pytest.fixture(scope="module")
def texts(synthetic):
    """For each example: its document's text in its context, and where what is shown lies in it."""
    found = []
    for feature in range(synthetic.features):
        wide = synthetic.examples(feature, radius=synthetic.length)
        for example, whole in zip(synthetic.examples(feature), wide, strict=True):
            before = sum(map(len, whole.tokens[: example.start - whole.start]))
            shown = sum(map(len, example.tokens))
            found.append((feature, example.index, "".join(whole.tokens), before, shown))
    return found


def brute(texts, pattern):
    """Each example by itself, as the sentences say."""
    found = []
    for feature, index, text, before, shown in texts:
        for match in re.finditer(pattern, text, re.MULTILINE):
            start = match.start() - before
            if match.end() > match.start() and 0 <= start < shown:
                found.append((feature, index, (start, min(match.end() - before, shown))))
                break
    return found


PATTERNS = [
    r"ka(lo|mi)", r"\bren\w+\b", r"^", r"\n.", "<script>", r"the.*of", r"[^a-z]{4,}", "é", "日本",
    r"x*", r"zebra", r"(?<=\|>)\S", r"(?i)TA",
]  # fmt: skip


@pytest.mark.parametrize("pattern", PATTERNS)
def test_it_finds_what_reading_everything_finds(synthetic, texts, pattern):
    hits = synthetic.search(pattern, limit=10**6, seconds=60)
    found = [(hit.feature, hit.example, hit.span) for hit in hits.hits]
    assert found == brute(texts, pattern)
    assert (hits.complete, hits.more) == (True, False)
    assert hits.features == sorted({feature for feature, _, _ in found})
    for feature, example, (start, stop) in found[:20]:
        shown = "".join(synthetic.examples(feature)[example].tokens)
        assert start < stop <= len(shown)


def test_most_patterns_find_something(synthetic):
    some = [pattern for pattern in PATTERNS if synthetic.search(pattern, seconds=60).hits]
    assert set(PATTERNS) - set(some) <= {"^", "x*", "zebra"}


def test_a_limit_leaves_the_rest(synthetic):
    every = synthetic.search("ka", limit=10**6, seconds=60)
    few = synthetic.search("ka", limit=3, seconds=60)
    assert few.hits == every.hits[:3]
    assert (few.more, few.complete) == (True, True)
    assert synthetic.search("ka", limit=len(every.hits), seconds=60).more is False


def test_an_exploding_pattern_ends_in_time(synthetic):
    synthetic.search("a")  # decodes the texts
    start = time.monotonic()
    hits = synthetic.search(r"(?s)(.*)(.*)(.*)(.*)(.*)\1\2\3\4\5\d\d\d", seconds=0.1)
    assert time.monotonic() - start < 2
    assert not hits.complete


@pytest.mark.parametrize(
    ("pattern", "message"),
    [("(", "is not a regular expression"), ("a" * 2000, "2,000 characters"), (r"\p{zz}", "not a")],
)
def test_what_is_no_pattern_is_refused(synthetic, pattern, message):
    with pytest.raises(UserError, match=message):
        synthetic.search(pattern)
    with pytest.raises(UserError, match="limit is 0"):
        synthetic.search("a", limit=0)


def test_a_pointer_into_nowhere_is_refused(tiny):
    path = tiny.path / "arrays/examples.context.bin"
    path.write_bytes(b"\x00\x00\xff\x00\x01\x00")
    with pytest.raises(UserError, match=r"examples.context.bin: it holds 255; wanted less than 2"):
        Archive.open(tiny.path).search("a")
