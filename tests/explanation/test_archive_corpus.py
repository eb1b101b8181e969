import numpy as np
import pytest

from monosemy.explanation.archive_corpus import NOWHERE


def test_pieces_end_where_the_document_does(tiny):
    whole = ([0, 1, 1], [1, 0, 3], [0, 0, 0], [4, 4, 4])
    first, before, behind = tiny.corpus.pieces(*whole)
    assert (first.start, first.ids, first.document, first.offset) == (0, [0, 1, 2, 0], "one", 10)
    # The one token of document "one" that stands in context 1 goes on from context 0.
    assert (before.start, before.ids, before.document, before.offset) == (0, [2], "one", 16)
    assert (behind.start, behind.ids, behind.document, behind.offset) == (1, [3, 1, 0], "zwei", 0)


def test_a_token_without_text_has_no_offset(tiny):
    (piece,) = tiny.corpus.pieces([1], [1], [1], [2])
    assert (piece.ids, piece.document, piece.offset) == ([3], "zwei", NOWHERE)


def test_pieces_are_what_walking_gives(synthetic):
    corpus, draw = synthetic.corpus, np.random.default_rng(0)
    ids = synthetic.arrays["corpus.ids"]
    documents = np.repeat(
        synthetic.arrays["corpus.run_document"],
        np.diff(synthetic.arrays["corpus.run_start"], append=ids.size),
    ).reshape(ids.shape)
    for _ in range(200):
        context, peak = int(draw.integers(len(ids))), int(draw.integers(ids.shape[1]))
        start, stop = max(0, peak - 9), min(ids.shape[1], peak + 10)
        low = high = peak
        while low > start and documents[context, low - 1] == documents[context, peak]:
            low -= 1
        while high + 1 < stop and documents[context, high + 1] == documents[context, peak]:
            high += 1
        (piece,) = corpus.pieces([context], [peak], [start], [stop])
        assert (piece.start, piece.ids) == (low, ids[context, low : high + 1].tolist())
        assert piece.document == corpus.document(int(documents[context, peak]))


def test_lengths_and_texts_agree(synthetic, tiny):
    for archive in (synthetic, tiny):
        assert archive.corpus.lengths.tolist() == [len(text) for text in archive.corpus.texts]
        assert archive.corpus.texts[1] == archive.text(1)


def test_kept_bits(tiny):
    assert tiny.corpus.kept(0, 0, 4).tolist() == [True] * 4
    assert tiny.corpus.kept(1, 0, 4).tolist() == [True, False, True, True]
    assert tiny.corpus.kept(1, 1, 2).tolist() == [False]


@pytest.mark.parametrize("context", [0, 1])
def test_cuts_begin_every_piece(tiny, context):
    assert tiny.corpus.cuts.tolist() == [0, 4, 5]
