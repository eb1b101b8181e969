"""Labels of tokens, on a text where every token's place is known."""

import pytest
import torch

from monosemy.data.documents import Document
from monosemy.data.labels.labelling import NOTHING, joined, label
from monosemy.data.labels.spans import LAST, Hierarchy, Span
from monosemy.data.text import Corpus
from monosemy.data.tokens import NOWHERE, Contexts
from monosemy.foundation.errors import UserError

# Text, and where each token begins (a token reaches to the next one).
ONE, ONE_STARTS = "a cat sat on mats", [0, 1, 3, 5, 9, 12, 16]  # a| c|at| sat| on| mat|s
TWO, TWO_STARTS = "dogs run", [0, 4]


def contexts(parts, names, length=5):
    """Windows over documents, each opened by a token that is not kept; the last one filled up."""
    offset, document = [], []
    for number, starts in enumerate(parts):
        offset += [NOWHERE, *starts]
        document += [number] * (1 + len(starts))
    missing = -len(offset) % length
    offset, document = offset + [NOWHERE] * missing, document + [len(parts) - 1] * missing
    offset, document = torch.tensor(offset), torch.tensor(document)
    columns = (torch.zeros_like(offset), document, offset, offset != NOWHERE)
    return Contexts(*(c.view(-1, length) for c in columns), tuple(names))


def corpus(*texts):
    return Corpus("made", "all", tuple(Document(f"{i}", text) for i, text in enumerate(texts)))


def hierarchy(spans, rest=False):
    return Hierarchy("made", "made", lambda document: spans.get(document.name), rest)


def named(labels):
    """(row, parent, child) of every token that is looked at."""
    return [
        (row, *((None, None) if parent == NOTHING else labels.children[child]))
        for row, parent, child in zip(
            labels.rows.tolist(), labels.parent.tolist(), labels.child.tolist(), strict=True
        )
    ]


def test_the_first_or_the_last_token_stands_for_a_span():
    first = {"0": [Span(2, 5, "animal", "cat"), Span(6, 9, None)]}
    found = label(hierarchy(first), corpus(ONE), contexts([ONE_STARTS], "0"))
    assert named(found) == [(1, "animal", "cat"), (3, None, None)]
    last = {"0": [Span(2, 5, "animal", "cat", LAST)]}
    found = label(hierarchy(last), corpus(ONE), contexts([ONE_STARTS], "0"))
    assert named(found) == [(2, "animal", "cat")]


def test_without_a_child_the_token_is_the_child():
    found = label(hierarchy({"0": [Span(2, 5, "c")]}), corpus(ONE), contexts([ONE_STARTS], "0"))
    assert named(found) == [(1, "c", "c")]


def test_a_token_that_reaches_over_the_edge_is_left_out():
    for span in (Span(3, 4, "a"), Span(7, 9, "at"), Span(0, 9, "all", token=LAST)):
        spans = {"0": [span, Span(10, 12, "on")]}
        found = label(hierarchy(spans), corpus(ONE), contexts([ONE_STARTS], "0"))
        wanted = {3: [], 7: [], 0: [(3, "all", "sat")]}[span.start]
        assert named(found) == [*wanted, (4, "on", "on")]


def test_tokens_outside_every_span_count_where_the_hierarchy_says_so():
    spans = {"0": [Span(2, 5, "animal", "cat")]}
    found = label(hierarchy(spans, rest=True), corpus(ONE), contexts([ONE_STARTS], "0"))
    # "at" lies inside the span and does not stand for it; the last token's end is unknown.
    rows = [(0, None, None), (1, "animal", "cat"), (3, None, None), (4, None, None)]
    assert named(found) == [*rows, (5, None, None)]


def test_documents_and_windows_do_not_confuse_rows():
    spans = {"0": [Span(10, 12, "on", "on")], "1": [Span(0, 4, "animal", "dogs")]}
    for length in (3, 4, 5, 11):
        packed = contexts([ONE_STARTS, TWO_STARTS], "01", length)
        found = label(hierarchy(spans), corpus(ONE, TWO), packed)
        assert named(found) == [(4, "on", "on"), (7, "animal", "dogs")]
        assert found.document.tolist() == [0, 1]
        assert packed.place(7).offset == 0


def test_documents_of_another_kind_are_counted():
    packed = contexts([ONE_STARTS, TWO_STARTS], "01")
    found = label(hierarchy({"1": [Span(0, 4, "animal")]}), corpus(ONE, TWO), packed)
    assert (found.strangers, len(found)) == (1, 1)


def test_no_label_at_all_is_refused():
    with pytest.raises(UserError, match="hierarchy 'made' labels no token of made"):
        label(hierarchy({"0": [Span(2, 5, None)]}), corpus(ONE), contexts([ONE_STARTS], "0"))


def test_contexts_of_another_corpus_are_refused():
    with pytest.raises(UserError, match="document 'x' of these contexts is not in made"):
        label(hierarchy({}), corpus(ONE), contexts([ONE_STARTS], "x"))


def test_parts_are_joined_under_one_numbering():
    first = label(hierarchy({"0": [Span(2, 5, "animal", "cat"), Span(6, 9, None)]}),
                  corpus(ONE), contexts([ONE_STARTS], "0"))  # fmt: skip
    second = label(hierarchy({"0": [Span(0, 4, "action", "dogs"), Span(2, 5, "animal", "x")]}),
                   corpus(TWO), contexts([TWO_STARTS], "0"))  # fmt: skip
    both = joined([first, second])
    assert both.parents == ("action", "animal")
    assert named(both) == [(0, "animal", "cat"), (1, None, None), (2, "action", "dogs")]
    assert both.document.tolist() == [0, 0, 1]
    assert both.is_("animal").tolist() == [True, False, False]


@pytest.mark.parametrize("name", ["words", "letters"])
def test_tokens_of_real_stories_are_pieces_of_their_words(shared_data, name):
    from transformers import AutoTokenizer

    from monosemy.data.labels.hierarchies import open_hierarchy
    from monosemy.data.text import open_corpus
    from monosemy.data.tokens import Packing, pack
    from monosemy.tensors.compute import Compute

    tokenizer = AutoTokenizer.from_pretrained(shared_data / "models" / "stories260K")
    stories = open_corpus(shared_data / "text" / "tinystories" / "test.txt", "heldout")
    packed = pack(stories, tokenizer, Packing(context=128, tokens=5000), Compute())
    found = label(open_hierarchy(name), stories, packed)
    ids = packed.ids[packed.kept][found.rows]
    pieces = [piece.lstrip("▁").lower() for piece in tokenizer.convert_ids_to_tokens(ids.tolist())]
    labelled = 0
    for piece, child in zip(pieces, found.child.tolist(), strict=True):
        if child != NOTHING:
            parent, word = found.children[child]
            assert word.endswith(piece) if name == "words" else piece == word
            assert name == "words" or piece.startswith(parent)
            labelled += 1
    assert labelled > 1000
