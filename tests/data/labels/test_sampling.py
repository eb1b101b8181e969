"""Fewer contexts keep the labels of their own tokens."""

import torch

from monosemy.data.labels.labelling import Labels
from monosemy.data.labels.sampling import spread
from monosemy.data.tokens import Contexts

COUNT, LENGTH = 12, 5


def made():
    draw = torch.Generator().manual_seed(0)
    ids = torch.arange(COUNT * LENGTH).view(COUNT, LENGTH)
    document = torch.arange(COUNT)[:, None].expand(COUNT, LENGTH).contiguous()
    offset = torch.arange(LENGTH).expand(COUNT, LENGTH).contiguous()
    kept = torch.rand(COUNT, LENGTH, generator=draw) < 0.7
    contexts = Contexts(ids, document, offset, kept, tuple(map(str, range(COUNT))))
    rows = torch.arange(0, contexts.tokens, 2)
    # The parent of each token is its own id, so that a label tells whose it is.
    own = ids[kept][rows]
    names = tuple(f"{i:03}" for i in range(COUNT * LENGTH))
    labels = Labels("made", names, tuple((n, n) for n in names), rows, own, own, document[kept][rows],
                    contexts.documents)  # fmt: skip
    return contexts, labels


def test_labels_stay_with_their_tokens():
    contexts, labels = made()
    for tokens in (1, 8, 20, 30):
        fewer, left = spread(contexts, labels, tokens)
        assert torch.equal(fewer.ids[fewer.kept][left.rows], left.parent)
        assert torch.equal(fewer.document[fewer.kept][left.rows], left.document)
        assert abs(fewer.tokens - tokens) <= LENGTH
        # None of the labelled tokens of those contexts is lost.
        there = torch.isin(labels.parent, fewer.ids.flatten())
        assert int(there.sum()) == len(left)


def test_contexts_lie_evenly():
    contexts, labels = made()
    fewer, _ = spread(contexts, labels, contexts.tokens // 3)
    gaps = fewer.document[:, 0].diff()
    assert gaps.min() >= 2
    assert gaps.max() <= 4


def test_all_are_kept_where_there_are_no_more():
    contexts, labels = made()
    assert spread(contexts, labels, 10_000) == (contexts, labels)
