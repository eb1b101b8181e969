"""Folds of documents, and the guard that fails when they overlap."""

import numpy as np
import pytest
import scipy.sparse

from monosemy.evaluation.probing.folds import Folds, deal, enough
from monosemy.foundation.errors import UserError


def test_documents_are_whole_and_folds_of_like_size():
    document = np.repeat(np.arange(12), np.arange(1, 13))
    folds = deal(document, 3, seed=0)
    sizes = np.bincount(folds.fold)
    assert sizes.max() - sizes.min() <= 3
    for one in range(12):
        assert len(set(folds.fold[document == one])) == 1
    assert (folds.inside(0) == (folds.fold != 0)).all()
    assert not (folds.inside(0, 1) & (folds.of(0) | folds.of(1))).any()
    assert list(folds.parts()) == [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2)]


def test_a_document_in_two_folds_is_refused():
    document = np.array([0, 0, 1, 1, 2, 2])
    with pytest.raises(UserError, match="1 of 3 documents are in several folds"):
        Folds(document, np.array([0, 1, 1, 1, 2, 2]), 3)
    Folds(document, np.array([0, 0, 1, 1, 2, 2]), 3)


def test_too_few_folds_and_documents_are_refused():
    with pytest.raises(UserError, match="wanted at least 3"):
        deal(np.arange(9), 2, seed=0)
    with pytest.raises(UserError, match="2 documents for 4 folds"):
        deal(np.array([0, 1, 1]), 4, seed=0)


def test_rare_concepts_are_left_out_with_their_counts():
    folds = Folds(np.arange(9), np.repeat([0, 1, 2], 3), 3)
    has = np.zeros((9, 3), dtype=bool)
    has[::3, 0] = True  # one in each fold
    has[:3, 1] = True  # all of one fold
    has[:, 2] = True
    unsure = np.zeros_like(has)
    labels = scipy.sparse.csr_array(has), scipy.sparse.csr_array(unsure)
    kept = enough(labels, folds, 1)
    assert kept.numbers.tolist() == [0]
    assert kept.left_out == {1: (0, 0, 3), 2: (3, 0, 9)}
    unsure[1:3, 0] = True  # nothing is left that surely lacks it
    assert enough((labels[0], scipy.sparse.csr_array(unsure)), folds, 1).numbers.tolist() == []
