"""Sets of concepts: parents that are there, without a cycle."""

import pytest

from monosemy.data.concepts.sets import Concept, ConceptSet
from monosemy.foundation.errors import UserError


def one(name, *parents, token="every"):
    return Concept(name, "g", name, parents, token)


def test_ancestors_of_a_diamond():
    found = ConceptSet((one("a"), one("b", "a"), one("c", "a"), one("d", "b", "c"), one("e")))
    assert found.with_ancestors == ((0,), (0, 1), (0, 2), (0, 1, 2, 3), (4,))
    assert found.number["d"] == 3
    assert len(found) == 5


def test_all_reasons_are_told_at_once():
    with pytest.raises(UserError, match="this set of concepts has 3 problems") as said:
        ConceptSet((one("animal"), one("animal"), one("cat", "animl"), one("x", token="middle")))
    for reason in ("'animal' is there twice", "did you mean 'animal'?", "known: every, last"):
        assert reason in str(said.value)


def test_a_cycle_is_refused():
    with pytest.raises(UserError, match="are their own ancestors: .*a"):
        ConceptSet((one("a", "c"), one("b", "a"), one("c", "b")))
    ConceptSet((one("a"), one("b", "a"), one("c", "b", "a")))  # two ways up are no cycle
