"""What a feature archive answers: one feature, one example, ready to be shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Bars:
    """A histogram: one more edge than counts; both empty where there is nothing to show."""

    edges: list[float]
    counts: list[int]


@dataclass(frozen=True)
class FeatureRecord:
    """All that an archive holds of one feature but its examples.

    Attributes
    ----------
    id : its number.
    statistics : column name to value, without flags and parent; `None` where there is no value.
    flags : names of the flags that are set.
    histogram, logit_histogram : of its activations, and of its weights on the logits.
    raised, lowered : (token id, text, weight), strongest first.
    tokens : (token id, text, share of its activation mass), largest first.
    positions : shares of its activation mass by equal parts of the context.
    sources : (document name, share), largest first.
    neighbours : relation to (feature, value), nearest first.
    aligned : (neuron, share of the decoder row), largest first by magnitude.
    parent, children : in a hierarchical dictionary.
    """

    id: int
    statistics: dict[str, float | int | None]
    flags: list[str]
    histogram: Bars
    logit_histogram: Bars
    raised: list[tuple[int, str, float]]
    lowered: list[tuple[int, str, float]]
    tokens: list[tuple[int, str, float]]
    positions: list[float]
    sources: list[tuple[str, float]]
    neighbours: dict[str, list[tuple[int, float]]]
    aligned: list[tuple[int, float]]
    parent: int | None
    children: list[int]

    def to_json(self) -> dict[str, Any]:
        """Plain lists, numbers and strings; all numbers are finite, as JSON's are."""
        return plain(vars(self))


@dataclass(frozen=True)
class ExampleRecord:
    """A piece of text around a peak.

    Attributes
    ----------
    index : which of the feature's examples, from 0.
    group : 0 top, 1 to B the interval of the peak, 254 random, 255 near miss.
    context, peak, start : the context, the position of the peak, the position of the first token.
    document, offset : the document's name, and about which character the piece begins at (within 8;
        -1 where it stands for no text).
    ids, tokens, activations : for each token; the activation is 0 where the feature is silent, and
        where it is not `known`.
    known : first and one past the last of the tokens whose activation is stored.
    value : activation at the peak; 0 for a near miss.
    margin : how far a near miss stayed below firing (negative); `None` for others.
    """

    index: int
    group: int
    context: int
    document: str
    offset: int
    peak: int
    start: int
    ids: list[int]
    tokens: list[str]
    activations: list[float]
    known: tuple[int, int]
    value: float
    margin: float | None

    def to_json(self) -> dict[str, Any]:
        """Plain lists, numbers and strings."""
        # Shallow: a page holds dozens, and nothing inside but `known` is not plain already.
        return {**vars(self), "known": list(self.known)}


def plain(value: Any) -> Any:
    """`value` with lists for tuples, and objects for records.

    >>> plain({"a": (1, [(2, "b")])})
    {'a': [1, [[2, 'b']]]}
    """
    if isinstance(value, Bars):
        return vars(value)
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    return value
