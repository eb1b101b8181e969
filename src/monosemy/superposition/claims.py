"""What an instrument of the laboratory answers: a claim, findings beside references, a verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from monosemy.foundation.errors import UserError

REFERENCE, PLANTED, NULL, MEASURED = "reference", "planted", "null", "measured"
KINDS = {
    REFERENCE: "a number that is known from theory or a paper",
    PLANTED: "a truth that was put there and must be found",
    NULL: "a control in which nothing must be found",
    MEASURED: "a number without a reference",
}
HOLDS, IN_PART, FAILS, OPEN = "holds", "holds in part", "does not hold", "nothing to compare with"


@dataclass(frozen=True)
class Finding:
    """One number beside what it should be.

    Attributes
    ----------
    what : in a few words.
    ours : what was measured.
    n : how many things it was measured on, with their name: ``"60 features"``.
    reference : what it should be, in words or as a number; its source in brackets.
    kind : one of `KINDS`.
    holds : whether ours agrees, within a tolerance fixed beforehand; `None` where nothing is known.
    low, high : interval of ours, 95 %.
    """

    what: str
    ours: float | str
    n: str
    reference: float | str = ""
    kind: str = REFERENCE
    holds: bool | None = None
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UserError(f"kind of finding {self.kind!r}; known: {', '.join(KINDS)}")
        if not self.n:
            raise UserError(f"finding {self.what!r} without its n; say what it was measured on")

    def to_json(self) -> dict[str, Any]:
        """Every attribute."""
        return {
            "what": self.what, "ours": self.ours, "low": self.low, "high": self.high, "n": self.n,
            "reference": self.reference, "kind": self.kind, "holds": self.holds,
        }  # fmt: skip


@dataclass(frozen=True)
class Claim:
    """One claim about representation, and what was found.

    Attributes
    ----------
    name : of its page.
    title : of its page.
    claim : in plain words.
    source : papers.
    method : how it is measured, as Markdown.
    findings : see `Finding`.
    words : what follows, in a few sentences, as Markdown; where it fails, that too.
    commands : that give these numbers.
    settings : seeds, sizes, versions: whatever a repetition needs.
    """

    name: str
    title: str
    claim: str
    source: str
    method: str
    findings: Sequence[Finding]
    words: str
    commands: Sequence[str]
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """``holds`` where every finding that can be checked does; see the constants."""
        checked = [finding.holds for finding in self.findings if finding.holds is not None]
        if not checked:
            return OPEN
        if all(checked):
            return HOLDS
        return IN_PART if any(checked) else FAILS

    def to_json(self) -> dict[str, Any]:
        """Every attribute, and the verdict."""
        return {
            "name": self.name, "title": self.title, "claim": self.claim, "source": self.source,
            "verdict": self.verdict, "words": self.words, "commands": list(self.commands),
            "settings": dict(self.settings),
            "findings": [finding.to_json() for finding in self.findings],
        }  # fmt: skip
