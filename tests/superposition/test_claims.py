"""Claims of the laboratory: findings, verdicts."""

from __future__ import annotations

import pytest

from monosemy.foundation.errors import UserError
from monosemy.superposition.claims import FAILS, HOLDS, IN_PART, OPEN, Claim, Finding


def claim(*holds: bool | None) -> Claim:
    findings = [Finding("rank", 63, "64 numbers", 63, holds=one) for one in holds]
    return Claim("page", "Title", "Said.", "A paper.", "So.", findings, "Words.", ["monosemy lab"])


@pytest.mark.parametrize(
    ("holds", "verdict"),
    [
        ((True, True), HOLDS), ((True, False), IN_PART), ((False,), FAILS), ((None,), OPEN),
        ((True, None), HOLDS), ((False, None), FAILS),
    ],
)  # fmt: skip
def test_a_verdict_follows_from_what_could_be_checked(holds, verdict):
    assert claim(*holds).verdict == verdict
    assert claim(*holds).to_json()["verdict"] == verdict


def test_a_finding_without_its_n_is_refused():
    with pytest.raises(UserError, match="without its n"):
        Finding("rank", 63, "")


def test_an_unknown_kind_is_refused():
    with pytest.raises(UserError, match="known: reference, planted, null, measured"):
        Finding("rank", 63, "1", kind="guess")
