"""From tokens to labels to one number, with intervals over documents."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from monosemy.data.labels.labelling import Labels
from monosemy.evaluation.results import Estimate, Metric, estimate
from monosemy.evaluation.structure.projections import Absorbed
from monosemy.evaluation.structure.results import Absorption, Child, Label
from monosemy.evaluation.structure.splitting import Split
from monosemy.evaluation.sums import Sums, Totals, positive
from monosemy.tensors.compute import Compute

# Children of a label that are told one by one.
_TOLD = 20
ACROSS_LABELS = "over labels; the latents were chosen once, so there is no interval over documents"


@dataclass(frozen=True, eq=False)
class Found:
    """What was found of one label.

    Attributes
    ----------
    tokens : numbers of the tokens that were looked at, among all labelled ones.
    """

    probe_f1: float
    split: Split
    tokens: np.ndarray
    absorbed: Absorbed


def gather(
    labels: Labels, found: Mapping[str, Found], left_out: Mapping[str, str],
    heldout: np.ndarray, compute: Compute, least: int = 1,
) -> Absorption:  # fmt: skip
    """The measurement, from what was `found` of each label that counts.

    Means over children are over those with at least `least` tokens: a resample of the documents
    holds only some of the rarer ones, and an interval over changing children would be off.
    """
    if not found:
        return Absorption(labels.hierarchy, (), left_out, _nothing())
    documents = np.unique(labels.document.numpy()[heldout])
    sums = _sums(labels, list(found.values()), documents)
    common = sums["tokens_of_child"].sum(0) >= least
    owners = _owners(labels, list(found)) * common[:, None]
    metrics = {
        "absorption_fraction": _mean_of_ratios("fraction", "tokens"),
        "full_absorption": _mean_of_ratios("full", "tokens"),
        "absorption_fraction_by_child": _mean_over_children("fraction_of_child", owners),
        "full_absorption_by_child": _mean_over_children("full_of_child", owners),
    }
    each = {
        f"{kind}/{name}": _ratio(kind, column)
        for column, name in enumerate(found)
        for kind in ("fraction", "full")
    }
    estimates = estimate(sums, metrics | each, compute.seed)
    told = tuple(
        Label(
            name, one.probe_f1, len(one.tokens), tuple(one.split.latents.tolist()), one.split.f1,
            estimates[f"fraction/{name}"], estimates[f"full/{name}"], _children(labels, one),
        )
        for name, one in found.items()
    )  # fmt: skip
    whole = {name: estimates[name] for name in metrics} | _across(told)
    return Absorption(labels.hierarchy, told, left_out, whole)


def _sums(labels: Labels, found: Sequence[Found], documents: np.ndarray) -> Sums:
    """By held-out document: tokens and their absorption, of each label and of each child."""
    shape, names = (len(documents), len(found)), ("tokens", "fraction", "full")
    sums = {name: np.zeros(shape) for name in names}
    sums |= {f"{name}_of_child": np.zeros((len(documents), len(labels.children))) for name in names}
    owner, child = labels.document.numpy(), labels.child.numpy()
    for column, one in enumerate(found):
        where = np.searchsorted(documents, owner[one.tokens])
        terms = (np.ones(len(one.tokens)), one.absorbed.fraction, one.absorbed.full)
        for name, values in zip(names, terms, strict=True):
            np.add.at(sums[name], (where, column), values)
            np.add.at(sums[f"{name}_of_child"], (where, child[one.tokens]), values)
    return sums


def _owners(labels: Labels, names: Sequence[str]) -> np.ndarray:
    """``[child, label]``: 1 where the child is one of the label's."""
    return np.array([[float(parent == name) for name in names] for parent, _ in labels.children])


def _mean_of_ratios(above: str, below: str) -> Metric:
    """Mean over labels of ``above / below``.

    A resample may hold no token of a rare label; the mean is then over the others.
    """
    return Metric(lambda t: _mean(t[above] / positive(t[below])), "no label counts")


def _mean_over_children(above: str, owners: np.ndarray) -> Metric:
    """Mean over labels of the mean over their children of ``above / tokens``."""

    def formula(t: Totals) -> np.ndarray:
        ratio = t[above] / positive(t["tokens_of_child"])
        there = np.isfinite(ratio)
        of_label = np.where(there, ratio, 0.0) @ owners / positive(there.astype(float) @ owners)
        return _mean(of_label)

    return Metric(formula, "no label counts")


def _mean(values: np.ndarray) -> np.ndarray:
    """Over the last axis, of those that are defined."""
    there = np.isfinite(values)
    return np.where(there, values, 0.0).sum(-1) / positive(there.sum(-1).astype(float))


def _ratio(above: str, column: int) -> Metric:
    return Metric(
        lambda t: t[above][..., column] / positive(t["tokens"][..., column]),
        "the probe sees no held-out token of the label",
    )


def _across(told: Sequence[Label]) -> dict[str, Estimate]:
    """Means over labels of what is found once, from all held-out tokens."""
    values: dict[str, list[float]] = {
        "split_latents": [len(label.latents) for label in told],
        "latents_f1": [label.latents_f1 for label in told],
        "probe_f1": [label.probe_f1 for label in told],
    }
    return {name: Estimate(float(np.mean(one)), note=ACROSS_LABELS) for name, one in values.items()}


def _nothing() -> dict[str, Estimate]:
    names = ("absorption_fraction", "full_absorption", "split_latents", "latents_f1", "probe_f1")
    return {name: Estimate(None, note="no label counts") for name in names}


def _children(labels: Labels, one: Found) -> tuple[Child, ...]:
    """Of one label, the commonest first."""
    of_token = labels.child.numpy()[one.tokens]
    numbers, counts = np.unique(of_token, return_counts=True)
    common = numbers[np.argsort(-counts, kind="stable")][:_TOLD]
    return tuple(_child(labels.children[n][1], of_token == n, one.absorbed) for n in common)


def _child(name: str, own: np.ndarray, found: Absorbed) -> Child:
    absorbers = Counter(found.largest[own & (found.full > 0)].tolist()).most_common(1)
    return Child(
        name, int(own.sum()), float(found.fraction[own].mean()), float(found.full[own].mean()),
        absorbers[0][0] if absorbers else None,
    )  # fmt: skip
