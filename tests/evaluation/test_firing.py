import numpy as np
import pytest
import torch

from monosemy.evaluation import firing as module
from monosemy.evaluation.firing import NAMES, Firing, dead_fraction, dense_fraction
from monosemy.tensors.codes import SparseCode

TOKENS, LATENTS, DOCUMENTS = 400, 30, 12
DRAW = np.random.default_rng(0)
# Rates from never to often, so that some latents are dead, some nearly, some dense.
RATES = np.concatenate([np.zeros(3), np.geomspace(0.002, 0.4, LATENTS - 3)])
FULL = torch.from_numpy((DRAW.random((TOKENS, LATENTS)) < RATES) * DRAW.normal(size=(TOKENS, 1)))
DOCUMENT = torch.from_numpy(DRAW.integers(0, DOCUMENTS, TOKENS))


def _gather(full=FULL, document=DOCUMENT, documents=DOCUMENTS, batch=150):
    found = Firing(documents, full.shape[1])
    active = [
        found.add(SparseCode.from_dense(full[at : at + batch]), document[at : at + batch])
        for at in range(0, len(full), batch)
    ]
    return found, torch.cat(active)


def test_density_and_l0_are_counts():
    found, active = _gather()
    torch.testing.assert_close(found.density().double(), (FULL != 0).double().mean(0))
    assert torch.equal(active, (FULL != 0).sum(1))


def test_stored_zeros_do_not_fire():
    code = SparseCode(torch.tensor([0, 2]), torch.tensor([0, 1]), torch.tensor([0.0, 2.0]), 3)
    found = Firing(1, 3)
    assert found.add(code, torch.tensor([0])).tolist() == [1]
    assert found.density().tolist() == [0, 1, 0]


def test_dead_and_dense_fractions_are_shares_of_latents():
    density = (FULL != 0).double().mean(0)
    found = _gather()[0].estimates(seed=0)
    assert tuple(found) == NAMES
    assert found["dead_fraction"].value == pytest.approx(float((density == 0).double().mean()))
    assert found["dense_fraction"].value == pytest.approx(float((density > 0.1).double().mean()))
    for one in found.values():
        assert 0 <= one.low <= one.value <= one.high <= 1


def test_many_documents_share_groups(monkeypatch):
    one = _gather()[0].estimates(seed=0)
    monkeypatch.setattr(module, "_GROUPS", 4)
    few = _gather()[0].estimates(seed=0)
    for name in NAMES:
        assert few[name].value == one[name].value
    merged = _gather(document=DOCUMENT % 4, documents=4)[0].estimates(seed=0)
    assert few == merged


def test_documents_without_text_do_not_count():
    few = _gather(documents=DOCUMENTS)[0].estimates(seed=0)
    assert _gather(documents=DOCUMENTS + 5)[0].estimates(seed=0) == few


def test_one_document_has_no_interval():
    found = _gather(document=torch.zeros(TOKENS, dtype=torch.int64), documents=1)[0]
    for one in found.estimates(0).values():
        assert (one.low, one.high) == (None, None)
        assert one.note == "one document: no interval can be given"


# --- the two intervals ----------------------------------------------------------------------------


def test_the_jackknife_of_the_dead_by_hand():
    """Four latents in three documents: 0 dead, 1 fires in the first alone, 2 and 3 in several."""
    fired = np.array([[0, 1, 1, 1], [0, 0, 1, 0], [0, 0, 0, 1]], dtype=bool)
    found = dead_fraction(fired)
    without = [np.mean(~np.delete(fired, g, axis=0).any(0)) for g in range(3)]
    assert without == [0.5, 0.25, 0.25]
    error = np.sqrt(2 / 3 * np.square(np.array(without) - np.mean(without)).sum())
    assert found.value == 0.25
    assert found.high == pytest.approx(0.25 + 1.96 * error)
    assert found.low == 0


def test_a_bootstrap_of_the_dead_would_leave_its_own_value_outside():
    fired = np.random.default_rng(1).random((40, 3000)) < 0.04
    value = np.mean(~fired.any(0))
    draw = np.random.default_rng(2)
    drawn = [np.mean(~fired[draw.integers(0, 40, 40)].any(0)) for _ in range(200)]
    assert value < np.percentile(drawn, 2.5)
    found = dead_fraction(fired)
    assert found.low < value < found.high


def test_the_interval_of_the_dense_by_hand():
    counts, tokens = DRAW.integers(0, 9, (8, 50)), np.full(8, 40)
    found = dense_fraction(counts, tokens, seed=3)
    draw = np.random.default_rng(3)
    drawn = []
    for chosen in draw.integers(0, 8, (2_000, 8)):
        drawn.append(np.mean(counts[chosen].sum(0) > 0.1 * tokens[chosen].sum()))
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(drawn, [2.5, 97.5])))
    assert 0 < found.low < found.high < 1
