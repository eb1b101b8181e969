"""Tokens get concepts where all their characters have them; edges are left out."""

import numpy as np
import pytest
import torch

from monosemy.data.concepts.aligned import align, spread
from monosemy.data.concepts.sets import Concept, ConceptSet, ConceptSource
from monosemy.data.documents import Document
from monosemy.data.text import Corpus
from monosemy.data.tokens import NOWHERE, Contexts
from monosemy.foundation.errors import UserError

CONCEPTS = ConceptSet((
    Concept("thing", "g", ""), Concept("animal", "g", "", ("thing",)),
    Concept("word", "g", "", token="last"), Concept("part", "g", ""),
))  # fmt: skip
TEXT, STARTS = "a cat sat on mats", [0, 1, 3, 5, 9, 12, 16]  # a| c|at| sat| on| mat|s


def contexts(parts, length=4):
    offset, document = [], []
    for number, starts in enumerate(parts):
        offset += [NOWHERE, *starts]
        document += [number] * (1 + len(starts))
    missing = -len(offset) % length
    offset, document = offset + [NOWHERE] * missing, document + [len(parts) - 1] * missing
    offset, document = torch.tensor(offset), torch.tensor(document)
    columns = (torch.zeros_like(offset), document, offset, offset != NOWHERE)
    names = tuple(str(i) for i in range(len(parts)))
    return Contexts(*(c.view(-1, length) for c in columns), names)


def table(marks, *texts, starts=None):
    corpus = Corpus("made", "all", tuple(Document(f"{i}", t) for i, t in enumerate(texts)))
    source = ConceptSource("made", "made", CONCEPTS, lambda document: marks.get(document.name))
    return align(source, corpus, contexts(starts or [STARTS] * len(texts)))


def shown(matrix, name):
    return np.flatnonzero(matrix.toarray()[:, CONCEPTS.number[name]]).tolist()


def test_a_token_inside_has_it_one_over_the_edge_is_unsure():
    found = table({"0": [(2, 5, "animal"), (6, 11, "part")]}, TEXT)
    assert len(found) == 6, "the last token's end is not known"
    assert shown(found.has, "animal") == shown(found.has, "thing") == [1, 2]
    assert shown(found.unsure, "animal") == []
    # " sat" lies inside (its space does not count), " on" reaches over the edge.
    assert (shown(found.has, "part"), shown(found.unsure, "part")) == ([3], [4])


def test_the_last_token_stands_for_a_word():
    found = table({"0": [(2, 5, "word")]}, TEXT)
    assert (shown(found.has, "word"), shown(found.unsure, "word")) == ([2], [1])
    cut = table({"0": [(2, 4, "word"), (0, 1, "part")]}, TEXT)
    assert (shown(cut.has, "word"), shown(cut.unsure, "word")) == ([], [1, 2])


def test_pieces_that_touch_are_one():
    for marks in ([(2, 4, "part"), (4, 5, "part")], [(2, 5, "part"), (2, 3, "part")]):
        found = table({"0": marks}, TEXT)
        assert (shown(found.has, "part"), shown(found.unsure, "part")) == ([1, 2], [])


def test_a_token_around_a_piece_is_unsure():
    found = table({"0": [(6, 7, "part"), (14, 15, "thing"), (0, 1, "animal")]}, TEXT)
    assert shown(found.unsure, "part") == [3]
    assert shown(found.unsure, "thing") == [5]


def test_it_is_what_characters_say_one_by_one():
    draw = np.random.default_rng(0)
    names = ("thing", "animal", "part")
    for _ in range(30):
        marks = [(int(a), int(a + b), names[c]) for a, b, c in
                 zip(draw.integers(0, 15, 6), draw.integers(1, 5, 6), draw.integers(0, 3, 6),
                     strict=True)]  # fmt: skip
        found = table({"0": marks}, TEXT)
        for name in names:
            held = np.zeros(40, dtype=bool)
            for start, end, kind in marks:
                if kind == name or (kind == "animal" and name == "thing"):
                    held[start:end] = True
            inner = [(0, 1), (2, 3), (3, 5), (6, 9), (10, 12), (13, 16)]
            said = [(held[a:b].all(), held[a:b].any()) for a, b in inner]
            assert shown(found.has, name) == [i for i, (all_, _) in enumerate(said) if all_]
            edge = [i for i, (all_, any_) in enumerate(said) if any_ and not all_]
            assert shown(found.unsure, name) == edge


def test_documents_of_another_kind_are_counted_and_have_no_token():
    found = table({"1": [(0, 1, "part")]}, TEXT, TEXT)
    assert found.strangers == 1
    assert found.document.tolist() == [1] * 6
    assert found.rows.tolist() == list(range(7, 13))


def test_fewer_contexts_keep_their_tokens():
    whole = table({"0": [(2, 5, "animal")], "1": [(6, 9, "part")]}, TEXT, TEXT)
    packed = contexts([STARTS, STARTS])
    fewer, part = spread(packed, whole, 7)
    assert 0 < len(part) < len(whole)
    offsets = fewer.offset[fewer.kept]
    kept = packed.offset[packed.kept]
    place = {(int(d), int(o)): i for i, (d, o) in
             enumerate(zip(packed.document[packed.kept], kept, strict=True))}  # fmt: skip
    documents = fewer.document[fewer.kept]
    for i, row in enumerate(part.rows.tolist()):
        old = place[int(documents[row]), int(offsets[row])]
        at = whole.rows.tolist().index(old)
        assert (part.has.toarray()[i] == whole.has.toarray()[at]).all()
        assert int(part.document[i]) == int(documents[row])


def test_text_without_concepts_and_other_texts_are_refused():
    with pytest.raises(UserError, match="are on no token of made"):
        table({}, TEXT)
    source = ConceptSource("made", "made", CONCEPTS, lambda document: [])
    with pytest.raises(UserError, match="is not in made"):
        align(source, Corpus("made", "all", (Document("other", TEXT),)), contexts([STARTS]))
